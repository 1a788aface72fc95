"""English words that carry no content, and those that a question or a task begins with: a file each."""

from pathlib import Path


def _words(name: str) -> frozenset[str]:
    path = Path(__file__).with_name("english") / f"{name}.txt"
    return frozenset(path.read_text(encoding="utf-8").split())


FUNCTION_WORDS = _words("function_words")
INSTRUCTION_BEGINNINGS = _words("instruction_beginnings")
TASK_BEGINNINGS = INSTRUCTION_BEGINNINGS | _words("task_beginnings")
