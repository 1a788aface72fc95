"""Further turns of a long input, beyond the paper: tasks on its documents, answered from its notes.

Each is asked for with what was said so far. A call that brings no task, or an answer that a gate keeps out,
ends the conversation with the turn before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from selflong.llm import Answer
from selflong.recipe.prompts import Prompt
from selflong.synthesis.agent import Agent, trouble
from selflong.synthesis.briefs import Brief
from selflong.synthesis.quality import find_fault, find_task
from selflong.synthesis.statistics import KEPT
from selflong.synthesis.summaries import Task

SOURCE = "follow_up"
TOO_LONG = "beyond the generator's context"


@dataclass(frozen=True)
class Turn:
    """A task and its answer; keys: of the requests that made them."""

    task: Task
    answer: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ground:
    """What the turns of a sample have in common: its request, its notes, the texts of its documents."""

    brief: Brief
    notes: str
    documents: Sequence[str]


async def follow_ups(agent: Agent, sample_id: str, ground: Ground, first: Turn) -> list[Turn]:
    """The turns after the first, at most as many as the recipe wants."""
    turns = [first]
    for number in range(1, 1 + agent.setting.synthesis.needed_long_input.follow_ups):
        turn, reason = await _turn(agent, f"{sample_id}/turn-{number}", ground, turns)
        agent.tally.add(SOURCE, reason)
        if turn is None:
            break
        turns.append(turn)
    return turns[1:]


async def _turn(
    agent: Agent, name: str, ground: Ground, turns: Sequence[Turn]
) -> tuple[Turn | None, str]:
    """The next turn and KEPT, or None and the reason."""
    setting, section = agent.setting, agent.setting.synthesis.needed_long_input
    rules, prompt = setting.prompts.rules, setting.prompts["follow_up"]
    said = "\n\n".join(f"Task: {turn.task.instruction}\n\nResult: {turn.answer}" for turn in turns)
    values = {"notes": ground.notes, "conversation": said}
    if not _fits(agent, prompt, section.instruction_tokens, values):
        return None, TOO_LONG
    asked, provenance = await agent.ask_alone(
        prompt, section.instruction_tokens, "follow-up", name, **values
    )
    if not isinstance(asked, Answer):
        return None, trouble(asked)
    text, reason = find_task(asked, ground.notes, ())
    if text is None:
        return None, reason
    brief = ground.brief.in_another_form(rules, section, setting.random(name, "brief"))
    task = Task(
        name,
        brief.values(rules) | {"instruction": text},
        brief.answer_tokens(section),
        brief.closing(text, rules, setting.random(name, "closing")),
    )
    answer, reason, key = await _answer(agent, task, ground)
    keys = (*provenance["request_keys"], key)
    return (None, reason) if answer is None else (Turn(task, answer, keys), KEPT)


async def _answer(agent: Agent, task: Task, ground: Ground) -> tuple[str | None, str, str]:
    """The answer, or None and the reason; the key of its request."""
    prompt, values = agent.setting.prompts["answer"], {"notes": ground.notes, **task.values}
    if not _fits(agent, prompt, task.answer_tokens, values):
        return None, TOO_LONG, ""
    result, _ = await agent.ask(prompt, task.answer_tokens, "answer", task.sample_id, **values)
    if not isinstance(result, Answer):
        return None, f"answer {trouble(result)}", result.key
    gates = agent.setting.synthesis.gates
    fault = find_fault(result, task.instruction, ground.documents, gates)
    return (None, fault, result.key) if fault else (result.text.strip(), KEPT, result.key)


def _fits(agent: Agent, prompt: Prompt, reply_tokens: int, values: dict[str, str]) -> bool:
    room = agent.setting.generator.context_tokens - reply_tokens
    return agent.prompt_tokens(prompt, **values) <= room
