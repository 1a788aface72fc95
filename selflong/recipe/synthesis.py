"""The agent workflow and the models that it asks."""

# ruff: noqa: RUF012 - pydantic gives each section its own copy of a default

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from selflong.recipe.document_prompts import load_document_prompts
from selflong.recipe.multi_hop_prompts import load_multi_hop_prompts
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.section import (
    Drawn,
    Licensed,
    Positive,
    Rate,
    Section,
    Shards,
    Share,
    is_none,
)
from selflong.recipe.weights import Price, Weights


class Sampling(Section):
    """Decoding of the generator."""

    temperature: Annotated[float, Field(ge=0, le=2)]
    """Zero decodes greedily."""
    top_p: float = Field(gt=0, le=1)
    """Share of the probability that is drawn from."""


class Generator(Licensed):
    """The LLM that synthesises."""

    weights: Weights | None = None
    """Null for a model that only its provider serves."""
    model: str
    """Name that the endpoint knows it by."""
    context_tokens: Positive
    """Of prompt and answer together."""
    sampling: Sampling
    price: Price | None = None
    tokenizer: str | None = None
    """Model of this recipe whose tokenizer counts its tokens where its own is not at hand."""
    prompts: str = "compact"
    """Its prompt set: `compact` for the smallest models, `full` for others, or a folder of your own."""


class Lengths(Section):
    """Distribution of a sample's total length in the trained model's tokens."""

    distribution: Literal["log_normal", "uniform", "log_uniform"]
    """Its form."""
    minimum: Positive
    """Least length."""
    maximum: Positive
    """Greatest length."""
    mean: Positive | None = None
    """Of the distribution after it is cut to minimum and maximum; log_normal needs it."""
    sigma: Annotated[Rate, Field(le=10)] | None = None
    """Of the logarithm; log_normal needs it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        if self.distribution == "log_normal" and (self.mean is None or self.sigma is None):
            raise ValueError("log_normal needs mean and sigma")
        if self.mean is not None and not self.minimum <= self.mean <= self.maximum:
            raise ValueError(
                f"mean {self.mean} is not between minimum {self.minimum} and maximum {self.maximum}"
            )
        return self


class Words(Section):
    """Distribution of the length that an answer is asked to have: even over the logarithm."""

    minimum: Annotated[int, Field(ge=10)] = 50
    """Least length."""
    maximum: Annotated[int, Field(ge=10)] = 1500
    """Greatest length."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


def _some_in_each_shard(section: Any) -> Any:
    if section.shards > section.samples:
        raise ValueError(
            f"{section.shards} shards of {section.samples} samples: give no more shards than samples"
        )
    return section


class SampleKind(Section):
    """A kind of samples that the synthesis makes."""

    def prompts_sha256(self, generator: Generator) -> str:
        """Of the set of prompts by which a generator makes them."""
        return load_prompt_set(generator.prompts).sha256


class LongInput(SampleKind):
    """Instruction, retrieved documents, an answer from recursive query-focused summaries (section 3.1)."""

    samples: Drawn
    """To ask for; gates and duplicates leave fewer."""
    shards: Shards
    families: dict[str, Rate] = Field(min_length=1)
    """Weights of the kinds of instructions, by the names that the generators' prompt sets have for them."""
    readers: dict[str, Rate] = {}
    """Weights of those whom an answer is for, in sets that ask for that; where none is given, all alike."""
    forms: dict[str, Rate] = {}
    """The same for the form of an answer, among those that suit its family."""
    answer_words: Words | None = None
    """What is asked for, in sets that name the length of an answer."""
    lengths: Lengths
    seed_chunk_tokens: Positive
    """Of the text that an instruction is written from."""
    document_order: Literal["shuffled", "ranked"] = "shuffled"
    """Of the documents in a sample: by chance, or by rank."""
    instruction_position: Literal["before", "after", "both"]
    """Where the instruction stands among the documents."""
    include_seed_document: bool
    """Whether the document that the instruction was written from is among them."""
    hard_negatives: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of a sample's tokens, the share for documents that are nearest to the seed document and not to the
    instruction: on the same subject, mostly of no use for the task. The paper has none."""
    follow_ups: Annotated[int, Field(ge=0, le=8)] = 0
    """Further turns after the answer, at most: tasks on the same documents, answered from the same notes. The
    paper has none."""
    chunk_tokens: Annotated[int, Field(gt=0, le=4096)]
    """Of the documents, in the generator's tokens (section 3.1: at most 4k)."""
    instruction_tokens: Positive
    """The most of an instruction, in the generator's tokens."""
    summary_tokens: Positive
    """The most of a summary, in the generator's tokens."""
    answer_tokens: Positive
    """The most of an answer, in the generator's tokens; fewer where a shorter one is asked for."""
    maximum_depth: Positive
    """Times that summaries may be summarised again."""
    duplicate_threshold: Annotated[Share, Field(gt=0)]
    """Instructions whose estimated Jaccard similarity is at least this are dropped."""

    _some_in_each = model_validator(mode="after")(_some_in_each_shard)


class LongOutput(SampleKind):
    """A writing instruction back-translated from a document; the target is the document (section 3.1)."""

    samples: Positive
    """To ask for."""
    shards: Shards
    minimum_tokens: Positive
    """Of the document, in the target model's tokens."""
    maximum_tokens: Positive
    """Of the document."""
    excerpt_tokens: Positive
    """Of the document, shown to the generator where the whole does not fit its context."""
    instruction_tokens: Positive
    """The most of an instruction, in the generator's tokens."""
    length_hint_share: Share
    """Share of the instructions that name the length to write."""
    maximum_boilerplate_share: Share = 0.3
    """A document with a larger share of repeated or very short lines is left out."""
    drop_truncated: bool = False
    """Leave out documents that end within a sentence, or with a hint that they go on elsewhere."""

    _some_in_each = model_validator(mode="after")(_some_in_each_shard)


class DocumentTasks(SampleKind):
    """Questions on single long documents, and recursive summaries of them (ProLong, arXiv 2410.02660,
    section 5 and appendix B.5). Responses alone are trained on.
    """

    questions: Positive
    """Each gives two samples: it is asked of a long stretch of its document (family `question`), and of
    passages drawn from the whole document (family `passages`)."""
    summaries: Positive
    """Samples of the family `summary`."""
    shards: Shards
    prompts: str = "documents"
    """Set of prompts and templates, or a folder of your own."""
    minimum_tokens: Positive
    """Of a document, in the target model's tokens."""
    lengths: Lengths
    """Of a sample, shorter where its document is."""
    chunk_tokens: Positive
    """Of a piece that the generator reads at once, and of a passage, in the generator's tokens."""
    reply_tokens: Positive
    """The most of a reply with a question and its answer, in the generator's tokens."""
    summary_tokens: Positive
    """The most of a summary, in the generator's tokens."""

    def prompts_sha256(self, generator: Generator) -> str:
        return load_document_prompts(self.prompts).sha256


class MultiHop(SampleKind):
    """Questions over two documents, which no paper here has: the answer to a first question, a name, is what
    a second one on another document is about, and both are composed into one that does not say the name
    (as MuSiQue's questions are composed, arXiv 2108.00573). Kept is what the generator answers from both
    documents, and neither from one of them nor from none; `gates` have no effect. Responses alone are
    trained on.
    """

    samples: Positive
    """To ask for; the checks leave fewer."""
    shards: Shards
    prompts: str = "bridge"
    """Set of prompts and templates, or a folder of your own."""
    lengths: Lengths
    """Of a sample: the two documents among others that are drawn by chance, and the question."""
    chunk_tokens: Positive
    """Of the piece of a document that the generator reads, in its own tokens."""
    reply_tokens: Positive
    """The most of a reply with a question and its answer, in the generator's tokens."""
    answer_tokens: Positive = 48
    """The most of an answer where a question is asked to check it, in the generator's tokens."""

    _some_in_each = model_validator(mode="after")(_some_in_each_shard)

    def prompts_sha256(self, generator: Generator) -> str:
        return load_multi_hop_prompts(self.prompts).sha256


class Gates(Section):
    """Quality gates; each drop is counted with its reason. The paper has none."""

    families: bool = False
    """Whether an instruction must have the form of its family: a comparison compares, and so on."""
    minimum_grounding: Share | None = None
    """Least share of an answer's content words that occur in its own documents."""
    closed_book_share: Share = 0.0
    """Share of the samples whose question is also asked without documents."""
    closed_book_similarity: Share = 0.8
    """An answer this similar to its closed-book twin is dropped."""
    refusals: bool = False
    """Drop answers that refuse."""
    meta_talk: bool = False
    """Drop answers that speak of their documents or of being asked."""
    truncated: bool = False
    """Drop answers that end within a sentence."""
    wrong_language: bool = False
    """Drop answers in another language than the instruction's."""
    maximum_repeated_share: Share | None = None
    """Largest share of an answer's 4-grams that may repeat an earlier one."""


class Synthesis(Section):
    """The agent workflow; it runs once for each generator."""

    corpus: str
    """Whose documents are read."""
    encoder: str | None = None
    """What the documents of long inputs are found by."""
    target: str
    """Model whose tokenizer counts a sample's length."""
    long_input: LongInput | None = None
    long_output: LongOutput | None = None
    document_tasks: DocumentTasks | None = None
    multi_hop: MultiHop | None = Field(default=None, exclude_if=is_none)
    gates: Gates = Gates()

    @property
    def kinds(self) -> dict[str, LongInput | LongOutput | DocumentTasks | MultiHop]:
        """What is made, by the name that a mixture's entry gives it."""
        sections = {
            "long_input": self.long_input,
            "long_output": self.long_output,
            "document_tasks": self.document_tasks,
            "multi_hop": self.multi_hop,
        }
        return {name: section for name, section in sections.items() if section is not None}

    @property
    def needed_long_input(self) -> LongInput:
        """The long inputs of a recipe that has them."""
        assert self.long_input is not None
        return self.long_input

    @property
    def needed_long_output(self) -> LongOutput:
        """The long outputs of a recipe that has them."""
        assert self.long_output is not None
        return self.long_output

    @property
    def needed_encoder(self) -> str:
        """Name of the encoder of a recipe that has long inputs."""
        assert self.encoder is not None
        return self.encoder

    @model_validator(mode="after")
    def _makes_something(self) -> Self:
        if not self.kinds:
            raise ValueError(
                "give long_input, long_output, document_tasks or multi_hop, or leave synthesis out"
            )
        if (self.long_input is None) != (self.encoder is None):
            raise ValueError("encoder and long_input stand together: give both or neither")
        return self
