"""Two questions on two documents made one, and asked of both, of each and of none (synthesis.multi_hop).

The answer to the first question is the bridge: the second one is about it, and the composed one describes it
without saying it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from selflong.llm import Answer, Result
from selflong.recipe.multi_hop_prompts import MultiHopPrompts, load_multi_hop_prompts
from selflong.recipe.prompts import Prompt
from selflong.recipe.synthesis import MultiHop
from selflong.synthesis.agent import Agent, Setting, trouble
from selflong.synthesis.assembly import HEADING
from selflong.synthesis.pairs import read_pair
from selflong.synthesis.quality import TRUNCATED, content_words, find_instruction
from selflong.synthesis.short_answers import ARTICLES, find_fact, gives, name_words, said, says
from selflong.synthesis.statistics import KEPT
from selflong.synthesis.words import FUNCTION_WORDS

SOURCE = "multi_hop"
FIRST, SECOND, DESCRIBED = "first question", "second question", "description"
"""What the statistics count on the way, beside SOURCE: what is asked of composed questions."""

NO_NAME = "answer is no name"
ANSWER_SAID = "answer stands in its question"
BRIDGE_UNSAID = "question does not say the bridge"
IN_FIRST = "answer stands in the first document"
BRIDGE_SAID = "says the bridge"
NO_DESCRIPTION = "is a question"
ANOTHER_DESCRIPTION = "leaves out what its question says"
KNOWN = "answered without documents"
FIRST_ALONE, SECOND_ALONE = "answered from the first document", "answered from the second document"
UNANSWERED = "not answered from both documents"

_ASKS = {"who", "whom", "whose", "what", "which", "when", "where", "why", "how"}
_LABEL = re.compile(r"^\W*description\W*:\W*", re.IGNORECASE)

Row = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """A document, and the piece of it that the generator reads; row: counted over all shards."""

    row: int
    id: str
    text: str
    piece: str


@dataclass(frozen=True)
class Hop:
    """A question that a page answers with a short fact; keys: of the requests that made it."""

    page: Page
    question: str
    answer: str
    keys: list[str]


@dataclass(frozen=True)
class Chain:
    """A question over two documents; its answer is that of the second hop."""

    first: Hop
    second: Hop
    question: str
    provenance: Row
    """Of the request for the description, with the keys of all."""

    @property
    def bridge(self) -> str:
        """What the second document has in common with the first one."""
        return self.first.answer

    @property
    def answer(self) -> str:
        return self.second.answer


def section_of(setting: Setting) -> MultiHop:
    """Of a recipe that has it."""
    section = setting.synthesis.multi_hop
    assert section is not None
    return section


def prompts_of(setting: Setting) -> MultiHopPrompts:
    """The set that the recipe names."""
    return load_multi_hop_prompts(section_of(setting).prompts)


async def first_hop(agent: Agent, name: str, page: Page) -> Hop | None:
    """A question whose answer is a name on the page; None, counted, where there is no usable one."""
    hop, fault = await _hop(agent, prompts_of(agent.setting).first, FIRST, name, page)
    if hop is not None and hop.answer.islower():
        hop, fault = None, NO_NAME
    agent.tally.add(FIRST, fault or KEPT)
    return hop


async def second_hop(agent: Agent, name: str, first: Hop, page: Page) -> Hop | None:
    """A question about the answer to the first one; None, counted, where there is no usable one."""
    bridge = first.answer
    hop, fault = await _hop(
        agent, prompts_of(agent.setting).second, SECOND, name, page, entity=bridge
    )
    if hop is not None:
        if not says(hop.question, bridge):
            hop, fault = None, BRIDGE_UNSAID
        elif says(first.page.text, hop.answer):
            hop, fault = None, IN_FIRST
    agent.tally.add(SECOND, fault or KEPT)
    return hop


async def _hop(
    agent: Agent, prompt: Prompt, step: str, name: str, page: Page, **values: str
) -> tuple[Hop | None, str]:
    tokens = section_of(agent.setting).reply_tokens
    result, provenance = await agent.ask(prompt, tokens, step, name, chunk=page.piece, **values)
    pair, fault = read_pair(result, page.piece, prompt.example_names)
    if pair is None:
        return None, fault
    question, written = pair
    answer, fault = find_fact(written, page.piece)
    if answer is None:
        return None, fault
    if gives(question, answer):
        return None, ANSWER_SAID
    return Hop(page, question, answer, provenance["request_keys"]), ""


async def compose(agent: Agent, name: str, first: Hop, second: Hop) -> Chain | None:
    """The second question with a description in place of the bridge; None, counted, where there is none.

    The description is the first question in other words. Asked to write the whole question, a small model
    keeps one of the two and loses the other.
    """
    prompt = prompts_of(agent.setting).describe
    tokens = section_of(agent.setting).reply_tokens
    result, provenance = await agent.ask(prompt, tokens, DESCRIBED, name, question=first.question)
    question, fault = read_composed(result, first, second, prompt)
    agent.tally.add(DESCRIBED, fault or KEPT)
    if question is None:
        return None
    keys = [*first.keys, *second.keys, *provenance["request_keys"]]
    return Chain(first, second, question, {**provenance, "request_keys": keys})


def read_composed(
    result: Result, first: Hop, second: Hop, prompt: Prompt
) -> tuple[str | None, str]:
    """The composed question, by the description in a reply, or None and the reason."""
    if not isinstance(result, Answer):
        return None, trouble(result)
    description, fault = _read_description(result, first, second)
    if fault:
        return None, fault
    question = put_in_place(description, first.answer, second.question)
    sources = f"{first.question}\n{second.question}"
    return find_instruction(replace(result, text=question), sources, prompt.example_names)


def _read_description(result: Answer, first: Hop, second: Hop) -> tuple[str, str]:
    """Description, and what is wrong with it."""
    line = _LABEL.sub("", result.text.strip()).partition("\n")[0]
    description = line.strip().strip('"“”*`.?').strip()
    asked = content_words(first.question)
    beginning = description.partition(" ")[0].lower()
    if beginning in FUNCTION_WORDS:
        description = description[:1].lower() + description[1:]
    if result.finish_reason != "stop":
        return description, TRUNCATED
    if name_words(description) & (name_words(first.answer) - name_words(first.question)):
        return description, BRIDGE_SAID
    if gives(description, second.answer):
        return description, ANSWER_SAID
    if beginning in _ASKS:
        return description, NO_DESCRIPTION
    if 2 * len(asked & content_words(description)) < len(asked):
        return description, ANOTHER_DESCRIPTION
    return description, ""


def put_in_place(description: str, name: str, question: str) -> str:
    """The question with the description wherever it says the name; one article is enough."""
    place = said(name).pattern
    if description.partition(" ")[0] in ARTICLES:
        place = rf"(?:\b(?i:{'|'.join(sorted(ARTICLES))})\s+)?{place}"
    written = re.sub(place, lambda _: description, question)
    return written[:1].upper() + written[1:]


async def check(agent: Agent, name: str, chain: Chain) -> tuple[Chain, str]:
    """The chain with the keys of what it was asked by, and KEPT or why it is no question over both.

    Those that cost least are asked first, and none after the first that fails.
    """
    first, second = chain.first.page.piece, chain.second.page.piece
    asked: tuple[tuple[list[str], bool, str], ...] = (
        ([], False, KNOWN),
        ([second], False, SECOND_ALONE),
        ([first], False, FIRST_ALONE),
        ([first, second], True, UNANSWERED),
    )
    keys: list[str] = list(chain.provenance["request_keys"])
    for number, (pieces, wanted, fault) in enumerate(asked):
        result = await _answer(agent, f"{name}/{number}", chain.question, pieces)
        if not isinstance(result, Answer):
            return chain, trouble(result)
        if gives(result.text, chain.answer) is not wanted:
            return chain, fault
        keys.append(result.key)
    return replace(chain, provenance={**chain.provenance, "request_keys": keys}), KEPT


async def _answer(agent: Agent, name: str, question: str, pieces: Sequence[str]) -> Result:
    prompts, tokens = prompts_of(agent.setting), section_of(agent.setting).answer_tokens
    if not pieces:
        result, _ = await agent.ask(prompts.closed_book, tokens, "check", name, question=question)
        return result
    documents = "".join(
        HEADING.format(number=number) + piece for number, piece in enumerate(pieces, 1)
    )
    result, _ = await agent.ask(
        prompts.answer, tokens, "check", name, question=question, documents=documents.strip()
    )
    return result
