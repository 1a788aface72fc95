"""Length asked for against length produced, in words."""

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction

from selflong.evaluation.generate import Prompt
from selflong.evaluation.ruler import Sources
from selflong.job import UserError
from selflong.suites.output_length.section import OutputLength
from selflong.tokens import Tokenizer

TASK = "writing"
TOKENS_PER_WORD = 2
"""Room for the answer: English takes about 1.3 tokens a word, and too long an answer must be able to show."""

TEMPLATES = (
    "Write {form} of about {words} words about {topic}.",
    "I need {form} on {topic}. It should be {words} words long.",
    "Please draft {form} about {topic} with a length of {words} words, and do not stop early.",
)
FORMS = ("an essay", "a report", "a guide for beginners", "a story", "a lecture")
TOPICS = (
    "the history of lighthouses",
    "how a city plans its water supply",
    "keeping bees in a cold country",
    "a voyage along an unknown coast",
    "the trade in spices before the railway",
    "how bridges are built and tested",
    "a village that moves to higher ground",
    "teaching children to read music",
    "the life of a mountain forest",
    "repairing old clocks",
    "the first winter of a research station",
    "how markets set the price of bread",
)


def prompts(
    suite: OutputLength, tokenizer: Tokenizer, context_tokens: int, lengths: Sequence[int]
) -> Iterator[Prompt]:
    """`suite.prompts` requests at each length; forms, topics and wordings are combined without repeats."""
    combinations = [(t, f, topic) for t in TEMPLATES for f in FORMS for topic in TOPICS]
    if suite.prompts > len(combinations):
        raise UserError(
            f"output length: prompts is {suite.prompts}, there are {len(combinations)}: ask for fewer"
        )
    for words in lengths:
        drawn = random.Random(f"{suite.seed} {words}").sample(combinations, suite.prompts)
        for index, (template, form, topic) in enumerate(drawn):
            text = template.format(form=form, words=words, topic=topic)
            message = {"role": "user", "parts": [{"kind": "prompt", "text": text}]}
            ids = tokenizer.render([message], add_generation_prompt=True).ids.tolist()
            yield Prompt(
                task=TASK,
                length=words,
                index=index,
                ids=ids,
                text=tokenizer.decode(ids),
                answers=(str(words),),
                answer_tokens=min(TOKENS_PER_WORD * words + 64, context_tokens - len(ids)),
            )


def score(prediction: str, answers: Sequence[str]) -> float:
    """1 where as many words were written as asked for; 0 from four times as many on, or a third.

    The length score of LongWriter (arXiv 2408.07055, section 3.2), linear in the ratio of the two.
    """
    asked, written = int(answers[0]), len(prediction.split())
    if written == 0:
        return 0.0
    excess = Fraction(written, asked) - 1
    loss = excess / 3 if excess > 0 else (Fraction(asked, written) - 1) / 2
    return float(max(Fraction(0), 1 - loss))


def texts(suite: OutputLength, sources: Sources) -> Iterator[tuple[str, str]]:
    """Name and text of each topic."""
    for topic in TOPICS:
        yield "topic", topic
