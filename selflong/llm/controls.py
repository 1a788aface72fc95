"""Text that no chat template may take for its own marks."""

import re

# Marks of turns in the chat formats of ChatML, Llama 2 and 3, Gemma, Mistral, Phi, DeepSeek and Qwen.
_CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^｜\s]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|"
    r"\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>"
)


def without_controls(text: str) -> str:
    """`text` with a space inside whatever a generator of any family may read as a control token."""
    return _CONTROL.sub(lambda control: f"{control[0][0]} {control[0][1:]}", text)
