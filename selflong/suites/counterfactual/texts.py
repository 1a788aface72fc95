"""What the counterfactual probe asks about."""

from collections.abc import Iterator
from pathlib import Path

from selflong.suites.counterfactual.prompts import INSTRUCTION, asked
from selflong.suites.counterfactual.section import Counterfactual
from selflong.suites.ruler.generator import suite_sources


def texts(suite: Counterfactual, download: Path | None) -> Iterator[tuple[str, str]]:
    """The instruction, and each question with its answer and its document."""
    yield "instruction", INSTRUCTION
    for edit in asked(suite_sources(suite.named_files).squad, suite):
        yield "question", f"{edit.question} {edit.answer}"
        yield "document", edit.document
