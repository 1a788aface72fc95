"""The models of a recipe and the stages that train them."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.section import (
    Label,
    Name,
    NonNegative,
    Positive,
    Precision,
    Rate,
    Section,
    Seed,
    Share,
)
from selflong.recipe.weights import Weights


class Optimizer(Section):
    """AdamW and its schedule."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    """At its peak."""
    minimum_ratio: Share = 0.1
    """Learning rate at the end over its peak."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    warmup_share: Share = 0.0
    """Of the steps, over which the rate rises from nothing."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the gradient's mean."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay of the squared gradient's mean."""
    weight_decay: float = Field(ge=0, le=10)
    """Of matrices; norms and biases have none."""
    gradient_clip: Rate
    """Largest norm of a step's gradient."""


def _is_false(value: object) -> bool:
    """Where it holds the setting is left out, so that it changes no digest."""
    return value is False


class Stage(Section):
    """One training stage, or, with tokens 0, only another rope base."""

    name: Name
    """Of its checkpoint: <model>/<stage>."""
    length: Annotated[Positive, Field(ge=2)]
    """Of its packed sequences, in tokens."""
    rope_base: Rate | Literal["keep", "x4_per_doubling", "ntk"]
    """A number, or a rule: the start's, four times that for each doubling of the length, or NTK-aware."""
    rope_scaling: Literal["keep", "drop", "linear", "yarn"] = "keep"
    """Of rotary frequencies: keep or drop what the initial model's configuration says (Llama-3's block), or
    scale them by how much longer the model has become."""
    mixture: str | None = None
    """What it trains on."""
    tokens: NonNegative
    """To train on, rounded up to whole global batches."""
    global_batch_tokens: Positive | None = None
    """Of a step, over all ranks."""
    optimizer: Optimizer | None = None
    continue_optimizer: bool = False
    """Start from the optimizer state of the stage before."""
    shorter: bool = Field(default=False, exclude_if=_is_false)
    """Allow a length below that of the stage before, as for fine-tuning on short samples."""
    checkpoint_steps: Positive = 100
    """Steps between two saved states."""

    @property
    def sequences_per_step(self) -> int:
        """Packed sequences of a global batch; of a stage that does not train, one."""
        return (self.global_batch_tokens or self.length) // self.length

    @model_validator(mode="after")
    def _trains_or_not(self) -> Self:
        needed = (self.mixture, self.global_batch_tokens, self.optimizer)
        if self.tokens > 0 and None in needed:
            raise ValueError("a stage that trains needs mixture, global_batch_tokens and optimizer")
        if self.tokens == 0 and any(value is not None for value in needed):
            raise ValueError(
                "tokens is 0: mixture, global_batch_tokens and optimizer have no effect"
            )
        return self


WRITTEN = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "date_string", "strftime_now")
)
"""What a chat template is given in any case (`tokens.Tokenizer`), beside the special tokens."""


class Chat(Section):
    """What a model's chat template is given in an evaluation, and how its reasoning is told apart."""

    system_prompt: str | None = None
    """Before each conversation; none where it is null."""
    template_arguments: dict[str, Any] = {}
    """Such as `enable_thinking`."""
    reasoning_end: str | None = None
    """What ends its reasoning, such as </think>: nothing before it is scored."""
    reasoning_tokens: NonNegative = 0
    """Room for the reasoning beside the answer's; where it is used up before the end, nothing is scored."""

    @model_validator(mode="after")
    def _arguments_of_its_own(self) -> Self:
        for name in self.template_arguments:
            if name in WRITTEN or name.endswith("_token"):
                raise ValueError(
                    f"template_arguments: {name!r} is given to every template; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _reasons_or_not(self) -> Self:
        if (self.reasoning_end is None) != (self.reasoning_tokens == 0):
            raise ValueError("give reasoning_end and reasoning_tokens both, or none of them")
        return self

    @property
    def note(self) -> str:
        """For the tables."""
        parts = (
            "with a system prompt" if self.system_prompt else "",
            ", ".join(f"{name}: {value}" for name, value in self.template_arguments.items()),
            f"reasons with {self.reasoning_tokens:,} tokens" if self.reasoning_tokens else "",
        )
        return "; ".join(filter(None, parts))


class Model(Section):
    """An entry of the recipe: where it starts and what its stages do. Without stages it is only evaluated."""

    label: Label
    """Its name in tables and figures; models with one label are repeats of one."""
    weights: Weights | None = None
    """Where its weights come from; or it starts from another model."""
    start: str | None = None
    """<model> or <model>/<stage> of this recipe."""
    stages: list[Stage] = []
    """What trains it, in this order."""
    mask_prompt: bool = False
    """Loss over responses only, in long samples too (the paper's ablation)."""
    precision: Precision | None = None
    """Of its training; the site's where it is null."""
    seed: Seed | None = None
    """Of random weights and of the order of the data; the recipe's where it is null."""
    published: str | None = None
    """Its name in resources/published_results.csv."""
    chat: Chat | None = None
    supports: Positive | None = None
    """Longest length that it is evaluated at."""

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if (self.weights is None) == (self.start is None):
            raise ValueError("give weights or start, one of the two")
        if self.weights is not None and self.stages:
            raise ValueError("a model with weights has no stages: let another one start from it")
        if self.start is not None and not self.stages:
            raise ValueError("a model that starts from another one needs stages")
        return self


INITIAL = "initial"  # the stage name of a model that is only loaded
