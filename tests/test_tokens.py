"""Exact rendering: ids and masks equal the template's own, and no control token comes from data."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from selflong.formats import TokenRole
from selflong.job import UserError
from selflong.tokens import CannotRender, Tokenizer, load_tokenizer

LLAMA_3_CONTROLS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    *(f"<|reserved_special_token_{number}|>" for number in (0, 1)),
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
    *(f"<|reserved_special_token_{number}|>" for number in range(3, 248)),
]

# Llama-3.1's rules: trimmed content, a system header with the date, every message ended by <|eot_id|>.
LLAMA_3_TEMPLATE = """{{- bos_token }}
{%- if date_string is not defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
{%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}{%- set system = '' %}{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' }}
{{- 'Today Date: ' + date_string + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] | trim }}{{- '<|eot_id|>' }}{%- endgeneration %}
{%- else %}{{- message['content'] | trim + '<|eot_id|>' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

SMOLLM2_TEMPLATE_WITH_MASK = """{%- for message in messages %}
{%- if loop.first and messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, ' }}
{{- 'trained by Hugging Face<|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}{{- '\\n' }}
{%- endfor %}"""

PROSE = """It was the best of times, it was the worst of times; the spring of hope, the winter of despair.
def f(x):\n    return x + 1\n\n\nÜber Maß und Länge: naïve café, 東京は大きい。 42 + 7 = 49!  Done.\t"""


@pytest.fixture(scope="session")
def llama_3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary with Llama-3's splitting, control tokens, post-processor and template."""
    backend = Backend(models.BPE(ignore_merges=True))
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([PROSE] * 20, trainer)
    backend.add_special_tokens(LLAMA_3_CONTROLS)
    begin = backend.token_to_id("<|begin_of_text|>")
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
            ),
        ]
    )
    pretrained = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    pretrained.chat_template = LLAMA_3_TEMPLATE
    folder = tmp_path_factory.mktemp("llama_3_tokenizer")
    pretrained.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session", params=["smollm2", "llama_3"])
def folder(
    request: pytest.FixtureRequest,
    smollm2_tokenizer_folder: Path,
    llama_3_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Tokenizers whose templates mark the assistant's text for transformers' own mask."""
    if request.param == "llama_3":
        return llama_3_folder
    pretrained = AutoTokenizer.from_pretrained(str(smollm2_tokenizer_folder))
    pretrained.chat_template = SMOLLM2_TEMPLATE_WITH_MASK
    marked = tmp_path_factory.mktemp("smollm2_marked")
    pretrained.save_pretrained(marked)
    return marked


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


PIECES = [
    "hello",
    " world",
    "\n",
    "\n\n",
    "  ",
    "\t",
    " 東京",
    "é",
    "😀",
    "x=1",
    ".",
    "don't",
    "123456",
    "<|",
    "|>",
]


def _message(role: str, *parts: tuple[str, str]) -> dict:
    return {"role": role, "parts": [{"kind": kind, "text": text} for kind, text in parts]}


def _conversation(rng: random.Random, pieces: list[str]) -> list[dict]:
    def text() -> str:
        return "a" * rng.randint(0, 1) + "".join(rng.choices(pieces, k=rng.randint(1, 12))) + "b"

    messages = [_message("system", ("prompt", text()))] if rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 3)):
        kinds = rng.choices(["prompt", "document"], k=rng.randint(1, 4))
        messages.append(_message("user", *((kind, text()) for kind in kinds)))
        messages.append(_message("assistant", ("response", text() + rng.choice(["", "\n", " "]))))
    return messages


def _plain(messages: list[dict]) -> list[dict]:
    return [
        {"role": m["role"], "content": "".join(part["text"] for part in m["parts"])}
        for m in messages
    ]


def test_ids_and_masks_equal_the_templates(folder: Path, tokenizer: Tokenizer) -> None:
    reference = AutoTokenizer.from_pretrained(str(folder))
    rng = random.Random(5)
    for _ in range(5000):
        messages = _conversation(rng, PIECES)
        rendered = tokenizer.render(messages)
        expected = reference.apply_chat_template(
            _plain(messages),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            date_string="26 Jul 2024",
        )
        assert rendered.ids.tolist() == expected["input_ids"]
        mask = np.isin(rendered.roles, (TokenRole.RESPONSE, TokenRole.END))
        assert mask.astype(int).tolist() == expected["assistant_masks"]


def test_content_never_writes_control_tokens(folder: Path, tokenizer: Tokenizer) -> None:
    reference = AutoTokenizer.from_pretrained(str(folder))
    control_ids = set(reference.added_tokens_decoder)
    every = [token.content for token in reference.added_tokens_decoder.values()]
    # Llama-3's 245 reserved ones differ by their number alone; a few conversations hold them all.
    some = [text for text in every if "reserved" not in text or text.endswith("_2|>")]
    rng = random.Random(7)
    for number in range(1000):
        injected = "".join(every if number % 100 == 0 else some)
        messages = _conversation(rng, PIECES)
        innocent = tokenizer.render(messages)
        for message in messages:
            for part in message["parts"]:
                part["text"] = part["text"][0] + injected + part["text"][1:]
        rendered = tokenizer.render(messages)
        is_control = np.isin(rendered.ids, list(control_ids))
        written = innocent.ids[np.isin(innocent.ids, list(control_ids))]
        assert rendered.ids[is_control].tolist() == written.tolist()
        template = np.isin(rendered.roles, (TokenRole.TEMPLATE, TokenRole.END))
        assert template[is_control].all()
        decoded = tokenizer.decode(rendered.ids)
        for plain in _plain(messages):
            assert plain["content"].strip() in decoded


def test_every_part_keeps_its_role(tokenizer: Tokenizer) -> None:
    messages = [
        _message("system", ("prompt", "Be brief.")),
        _message(
            "user", ("prompt", "Read this: "), ("document", "A long report."), ("prompt", " Why?")
        ),
        _message("assistant", ("response", "Because of rain.")),
        _message("user", ("prompt", "And then?")),
        _message("assistant", ("response", "Sun.")),
    ]
    rendered = tokenizer.render(messages)

    def text_of(role: TokenRole) -> str:
        return tokenizer.decode(rendered.ids[rendered.roles == role])

    assert text_of(TokenRole.SYSTEM) == "Be brief."
    assert text_of(TokenRole.PROMPT).split() == ["Read", "this:", "Why?And", "then?"]
    assert text_of(TokenRole.DOCUMENT).strip() == "A long report."
    assert text_of(TokenRole.RESPONSE) == "Because of rain.Sun."
    assert (rendered.roles == TokenRole.END).sum() == 2
    assert set(rendered.ids[rendered.roles == TokenRole.END].tolist()) <= set(tokenizer.end_ids)


def test_llama_3_has_one_bos_and_a_pinned_date(llama_3_folder: Path) -> None:
    tokenizer = load_tokenizer(llama_3_folder, "03 Feb 2021")
    messages = [_message("user", ("prompt", "Hi")), _message("assistant", ("response", "Ho"))]
    rendered = tokenizer.render(messages)
    assert (rendered.ids == tokenizer.bos_id).sum() == 1
    assert rendered.ids[0] == tokenizer.bos_id
    assert "Today Date: 03 Feb 2021\n" in tokenizer.decode(rendered.ids)
    assert tokenizer.bos_id not in tokenizer.encode("<|begin_of_text|>Hi")
    assert tokenizer.digest != load_tokenizer(llama_3_folder).digest


def test_template_that_asks_the_clock_gets_the_pinned_date(
    llama_3_folder: Path, tmp_path: Path
) -> None:
    pretrained = AutoTokenizer.from_pretrained(str(llama_3_folder))
    pretrained.chat_template = (
        "{{ strftime_now('%Y-%m-%d') }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    pretrained.save_pretrained(tmp_path)
    rendered = load_tokenizer(tmp_path).render([_message("user", ("prompt", " Hi"))])
    assert load_tokenizer(tmp_path).decode(rendered.ids) == "2024-07-26 Hi"


def test_generation_prompt_continues_the_conversation(tokenizer: Tokenizer, folder: Path) -> None:
    messages = [_message("user", ("prompt", "Hi"))]
    whole = tokenizer.render([*messages, _message("assistant", ("response", "Ho"))])
    prompt = tokenizer.render(messages, add_generation_prompt=folder.name.startswith("llama"))
    assert whole.ids[: len(prompt.ids)].tolist() == prompt.ids.tolist()


# SmolLM2's vocabulary lacks the bytes of control characters and of rare planes.
CHARACTERS = st.characters(max_codepoint=0x2FFF, exclude_categories=("Cc", "Cs"))


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text(CHARACTERS, max_size=80), max_size=20))
def test_counts_are_exact_and_text_comes_back(
    smollm2_tokenizer: Tokenizer, texts: list[str]
) -> None:
    counts = smollm2_tokenizer.count_many(texts)
    assert counts.dtype == np.int64
    assert counts.tolist() == [len(smollm2_tokenizer.encode(text)) for text in texts]
    assert counts.tolist() == [smollm2_tokenizer.count(text) for text in texts]
    for text in texts:
        assert smollm2_tokenizer.decode(smollm2_tokenizer.encode(text)) == text


def test_survives_pickling(smollm2_tokenizer: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(smollm2_tokenizer))
    assert copy.digest == smollm2_tokenizer.digest
    assert copy.encode("<|im_end|>") == smollm2_tokenizer.encode("<|im_end|>")


def _with_template(folder: Path, template: str | None, target: Path) -> Path:
    pretrained = AutoTokenizer.from_pretrained(str(folder))
    pretrained.chat_template = template
    pretrained.save_pretrained(target)
    return target


def test_template_that_changes_text_is_refused(
    smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}{{ m['content'].split('</think>')[-1] }}<|im_end|>{% endfor %}"
    )
    tokenizer = load_tokenizer(_with_template(smollm2_tokenizer_folder, template, tmp_path))
    tokenizer.render([_message("user", ("prompt", "a"))])
    with pytest.raises(CannotRender, match="changes the text"):
        tokenizer.render([_message("assistant", ("response", "why</think>a"))])


def test_template_that_refuses_a_conversation(
    smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    tokenizer = load_tokenizer(_with_template(smollm2_tokenizer_folder, template, tmp_path))
    with pytest.raises(CannotRender, match="no system"):
        tokenizer.render([_message("system", ("prompt", "a"))])


def test_mistakes_are_sentences(smollm2_tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no tokenizer that can be loaded"):
        (tmp_path / "empty").mkdir()
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(UserError, match="chat_date"):
        load_tokenizer(smollm2_tokenizer_folder, "yesterday")
    bare = _with_template(smollm2_tokenizer_folder, None, tmp_path / "bare")
    assert not json.loads((bare / "tokenizer_config.json").read_text()).get("chat_template")
    assert load_tokenizer(bare).count("Hi") == 1
    with pytest.raises(UserError, match="no chat template"):
        load_tokenizer(bare).render([_message("user", ("prompt", "a"))])


def test_vocabulary_that_holds_control_tokens_as_words_is_refused(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"<|end|>": 0, "hello": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<|end|>"])
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="as plain text"):
        load_tokenizer(tmp_path)
