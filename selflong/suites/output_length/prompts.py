"""Length asked for against length produced, in words."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from selflong.job import UserError
from selflong.recipe.reader import read_yaml
from selflong.suites.output_length.section import TOKENS_PER_WORD, OutputLength
from selflong.suites.prompt import Prompt, Respondent
from selflong.tokens import Tokenizer, message

TASK = "writing"

_REQUESTS = read_yaml(Path(__file__).with_name("requests.yaml"))
TEMPLATES, FORMS, TOPICS = (_REQUESTS[name] for name in ("templates", "forms", "topics"))


def prompts(suite: OutputLength, respondent: Respondent) -> Iterator[Prompt]:
    """Requests at each length, whose answers the endpoint has room for."""
    context_tokens = respondent.endpoint.context_tokens
    return requests(suite, respondent.tokenizer, context_tokens, respondent.lengths)


def requests(
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
            ids = tokenizer.prompt_ids([message("user", text)])
            yield Prompt(
                task=TASK,
                length=words,
                index=index,
                ids=ids,
                text=tokenizer.decode(ids),
                answers=(str(words),),
                answer_tokens=min(TOKENS_PER_WORD * words + 64, context_tokens - len(ids)),
                message=text,
            )
