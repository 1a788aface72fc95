"""Settings of a suite of lm-evaluation-harness."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from selflong.recipe.section import NonNegative, Positive, Section
from selflong.suites.section import Lengths, SuiteSection


class HarnessTask(Section):
    """A task of lm-evaluation-harness, or a group of them; its name alone where the rest is its own."""

    name: str
    """At the harness."""
    shots: NonNegative | None = None
    """Examples before the question; the task's own number where it is null."""
    metric: str | None = None
    """Of a sample, from 0 to 1; where null, the one that is named as the length, or the first of
    `harness.METRICS`, or the first."""
    filter: str | None = None
    """What takes the answer out of what the model wrote; where null, the task's first."""


def _by_name(task: Any) -> Any:
    return {"name": task} if isinstance(task, str) else task


class LmEval(SuiteSection):
    """lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), with any of its tasks."""

    kind: Literal["lm_eval"]
    tasks: dict[str, Annotated[HarnessTask, BeforeValidator(_by_name)]] = Field(min_length=1)
    """Name in the table -> task."""
    lengths: Lengths = []
    """Tokens that the model has for prompt and answer: a longer prompt loses its beginning. Each length is a
    run of its own; none for short tasks, which are asked with what the model was made for."""
    chat_template: bool = True
    """Whether prompts are put into the model's chat template."""
    template_arguments: dict[str, Any] = {}
    """Given to the chat template, such as `enable_thinking`."""
    system_prompt: str | None = None
    """Before each prompt."""
    reasoning_end: str | None = None
    """What ends a model's reasoning, such as </think>: nothing before it is scored."""
    generation: dict[str, Any] = {}
    """In place of what tasks that are written say of it, such as `max_gen_toks` for a model that reasons.

    Through vLLM their `temperature` is 0 where it stands not here, even of a task that is meant to sample.
    """
    metadata: dict[str, Any] = {}
    """For tasks that make their data by it. In its values `{length}` is the length, a number where nothing
    else stands beside it, and `{length_name}` is the same as 8k."""
    limit: Positive | None = None
    """Of each task; null: all its samples."""
    task_files: Path | None = None
    """Folder with task files of one's own."""

    loads_checkpoints: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("lm_eval",)

    @property
    def folder(self) -> Path | None:
        return self.task_files

    @property
    def contexts(self) -> list[Positive] | list[None]:
        """Lengths that it is run at; one that is null where there are none."""
        return self.lengths or [None]
