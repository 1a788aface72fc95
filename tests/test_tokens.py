"""Exact rendering: ids and masks equal the template's own, and no control token comes from data."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.rendering import (
    compare,
    inject,
    message,
    write_llama_3_tokenizer,
    write_smollm2_tokenizer,
)
from selflong.formats import TokenRole
from selflong.job import UserError
from selflong.tokens import CannotRender, Tokenizer, load_tokenizer


@pytest.fixture(scope="session")
def llama_3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama_3_tokenizer")
    write_llama_3_tokenizer(folder)
    return folder


@pytest.fixture(scope="session", params=["smollm2", "llama_3"])
def folder(
    request: pytest.FixtureRequest, llama_3_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Tokenizers whose templates mark the assistant's text for transformers' own mask."""
    if request.param == "llama_3":
        return llama_3_folder
    marked = tmp_path_factory.mktemp("smollm2_marked")
    write_smollm2_tokenizer(marked)
    return marked


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder)


def test_ids_and_masks_equal_the_templates(folder: Path, tokenizer: Tokenizer) -> None:
    found = compare(folder, tokenizer, 3000)
    assert found["identical_ids"] == found["identical_masks"] == 3000


# Llama-3's 245 reserved tokens differ by their number alone.
@pytest.mark.parametrize(("count", "tokens"), [(1000, slice(20)), (10, slice(None))])
def test_content_never_writes_control_tokens(
    folder: Path, tokenizer: Tokenizer, count: int, tokens: slice
) -> None:
    found = inject(folder, tokenizer, count, tokens)
    assert found == {"injected": count, "from_content": 0, "content_back": count}


def test_every_part_keeps_its_role(tokenizer: Tokenizer) -> None:
    messages = [
        message("system", ("prompt", "Be brief.")),
        message(
            "user", ("prompt", "Read this: "), ("document", "A long report."), ("prompt", " Why?")
        ),
        message("assistant", ("response", "Because of rain.")),
        message("user", ("prompt", "And then?")),
        message("assistant", ("response", "Sun.")),
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
    messages = [message("user", ("prompt", "Hi")), message("assistant", ("response", "Ho"))]
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
    rendered = load_tokenizer(tmp_path).render([message("user", ("prompt", " Hi"))])
    assert load_tokenizer(tmp_path).decode(rendered.ids) == "2024-07-26 Hi"


def test_generation_prompt_continues_the_conversation(tokenizer: Tokenizer, folder: Path) -> None:
    messages = [message("user", ("prompt", "Hi"))]
    whole = tokenizer.render([*messages, message("assistant", ("response", "Ho"))])
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
    tokenizer.render([message("user", ("prompt", "a"))])
    with pytest.raises(CannotRender, match="changes the text"):
        tokenizer.render([message("assistant", ("response", "why</think>a"))])


@pytest.mark.parametrize("content", ["m.content[0]['text']", "'Hi'", "m.content * 2"])
def test_a_template_that_writes_no_text_or_writes_it_twice_is_refused(
    smollm2_tokenizer_folder: Path, tmp_path: Path, content: str
) -> None:
    template = f"{{% for m in messages %}}{{{{ {content} }}}}<|im_end|>{{% endfor %}}"
    folder = _with_template(smollm2_tokenizer_folder, template, tmp_path)
    with pytest.raises(CannotRender, match=r"the text of the user's message [02] times"):
        load_tokenizer(folder).render([message("user", ("prompt", "a"))])


def test_template_that_refuses_a_conversation(
    smollm2_tokenizer_folder: Path, tmp_path: Path
) -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m['content'] }}<|im_end|>{% endfor %}"
    )
    tokenizer = load_tokenizer(_with_template(smollm2_tokenizer_folder, template, tmp_path))
    with pytest.raises(CannotRender, match="no system"):
        tokenizer.render([message("system", ("prompt", "a"))])


def test_mistakes_are_sentences(smollm2_tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no tokenizer that can be loaded"):
        (tmp_path / "empty").mkdir()
        load_tokenizer(tmp_path / "empty")
    with pytest.raises(UserError, match="chat_date"):
        load_tokenizer(smollm2_tokenizer_folder, "yesterday")
    with pytest.raises(UserError, match=r"the system prompt holds .*, a control token"):
        load_tokenizer(smollm2_tokenizer_folder, system_prompt="Be brief.<|im_end|>")
    bare = _with_template(smollm2_tokenizer_folder, None, tmp_path / "bare")
    assert not json.loads((bare / "tokenizer_config.json").read_text()).get("chat_template")
    assert load_tokenizer(bare).count("Hi") == 1
    with pytest.raises(UserError, match="no chat template"):
        load_tokenizer(bare).render([message("user", ("prompt", "a"))])


def test_vocabulary_that_holds_control_tokens_as_words_is_refused(tmp_path: Path) -> None:
    backend = Backend(models.WordLevel({"<|end|>": 0, "hello": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<|end|>"])
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>").save_pretrained(tmp_path)
    with pytest.raises(UserError, match="as plain text"):
        load_tokenizer(tmp_path)
