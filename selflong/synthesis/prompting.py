"""Prompts as files, a chat each, its turns under the headings `## system`, `## user`, `## assistant`.

Turns before the last one are examples of the task. `$name` is filled in once, so that what documents hold
is never read as a placeholder.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

FOLDER = Path(__file__).parent / "prompts"
_HEADING = re.compile(r"^## (system|user|assistant)\n", re.MULTILINE)
_NAMES = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")
# Marks of turns in the chat formats of ChatML, Llama 2 and 3, Gemma, Mistral, Phi, DeepSeek and Qwen.
_CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜\s]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|"
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
)


def without_controls(text: str) -> str:
    """`text` with a space inside whatever a generator of any family may read as a control token."""
    return _CONTROL.sub(lambda control: f"{control[0][0]} {control[0][1:]}", text)


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read."""

    name: str
    sha256: str
    turns: tuple[tuple[str, str], ...]
    """Role and template of each message; the last one is the user's."""

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The chat with `values` filled in; KeyError where one is missing."""
        return [
            {"role": role, "content": Template(template).substitute(values)}
            for role, template in self.turns
        ]

    @property
    def example_names(self) -> frozenset[str]:
        """Names in the examples: words with a capital letter, not where a sentence begins."""
        example = "\n".join(text for role, text in self.turns[:-1] if role != "system")
        return frozenset(_NAMES.findall(example))

    @property
    def characters(self) -> int:
        """Length of the prompt without what is filled in."""
        return sum(len(template) for _, template in self.turns)


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt in `prompts/<name>.md`."""
    content = (FOLDER / f"{name}.md").read_bytes()
    pieces = _HEADING.split(content.decode())
    if pieces[0].strip():
        raise ValueError(f"prompt {name}: text stands before the first heading")
    turns = tuple(
        (role, text.strip()) for role, text in zip(pieces[1::2], pieces[2::2], strict=True)
    )
    if not turns or turns[-1][0] != "user":
        raise ValueError(f"prompt {name}: the last turn must be the user's")
    return Prompt(f"{name}.md", hashlib.sha256(content).hexdigest(), turns)
