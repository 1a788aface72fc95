"""What instructions are asked to ask for."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.synthesis import LongInput, Words
from selflong.synthesis.briefs import (
    LARGEST_ANSWER,
    Brief,
    combinations,
    draw_brief,
)
from selflong.synthesis.instructions import plan_instructions
from tests.paper import PAPER

FULL, COMPACT = load_prompt_set("full").rules, load_prompt_set("compact").rules
assert PAPER.synthesis is not None
SECTION: LongInput = PAPER.synthesis.long_input


@given(
    st.sampled_from(sorted(SECTION.families)),
    st.integers(4096, 1_048_576),
    st.integers(0, 2**31),
)
def test_a_brief_suits_its_family_and_its_sample(family: str, target: int, seed: int) -> None:
    brief = draw_brief(FULL, SECTION, family, target, Random(seed))
    assert brief == draw_brief(FULL, SECTION, family, target, Random(seed))
    assert brief.form in (FULL.families[family].forms or FULL.forms)
    assert brief.answer_words is not None
    assert 50 <= brief.answer_words <= 1500
    assert brief.answer_tokens(SECTION) <= max(LARGEST_ANSWER * target + 100, 164)
    assert brief.answer_tokens(SECTION) <= SECTION.answer_tokens
    values = brief.values(FULL)
    assert f"{brief.answer_words:,} words" in values["length"]
    assert "$" not in "".join(values.values())


def test_a_task_says_its_length_by_itself_or_at_its_end() -> None:
    brief = Brief("report", "pupil", "prose", "about", 1200)
    task = "Write a report on the Danube."
    closing = brief.closing(task, FULL, Random(1))
    assert closing is not None
    assert all(brief.values(FULL)[name] in closing for name in ("form", "length"))
    for says in ("Write 1,200 words on the Danube.", "Write 1200 words on the Danube."):
        assert brief.closing(says, FULL, Random(1)) is None
    assert Brief("timeline").closing(task, COMPACT, Random(1)) is None


def test_room_is_kept_for_further_turns() -> None:
    brief = Brief("report", "pupil", "prose", "about", 100)
    assert brief.reserve(SECTION) == brief.answer_tokens(SECTION) == 264
    section = SECTION.model_copy(update={"follow_ups": 2})
    assert brief.reserve(section) == 3 * 264 + 2 * section.instruction_tokens
    briefs = [draw_brief(FULL, section, "report", 4096, Random(seed)) for seed in range(50)]
    assert all(3 * brief.answer_tokens(section) <= LARGEST_ANSWER * 4096 + 300 for brief in briefs)
    turns = {brief.in_another_form(FULL, section, Random(seed)) for seed in range(50)}
    assert {turn.form for turn in turns} == set(FULL.families["report"].forms)
    assert {(turn.family, turn.reader, turn.answer_words) for turn in turns} == {
        ("report", "pupil", 100)
    }


def test_a_set_without_lists_asks_for_its_family_alone() -> None:
    brief = draw_brief(COMPACT, SECTION, "timeline", 4096, Random(1))
    assert brief == Brief("timeline")
    assert brief.values(COMPACT) == {"task": ""}
    assert brief.answer_tokens(SECTION) == SECTION.answer_tokens


def test_weights_of_the_recipe_choose_among_what_suits() -> None:
    section = SECTION.model_copy(
        update={"readers": {"pupil": 3, "lawyer": 1}, "forms": {"table": 1}}
    )
    briefs = [draw_brief(FULL, section, "comparison", 10_000, Random(seed)) for seed in range(400)]
    readers = [brief.reader for brief in briefs]
    assert set(readers) == {"pupil", "lawyer"}
    assert 250 < readers.count("pupil") < 350
    assert {brief.form for brief in briefs} == {"table"}
    # None of the recipe's forms suits an argument: all that do are alike.
    assert (
        draw_brief(FULL, section, "argument", 10_000, Random(1)).form
        in FULL.families["argument"].forms
    )


def test_the_papers_instructions_differ_because_their_requests_do() -> None:
    plans = [plan for shard in range(3) for plan in plan_instructions(PAPER, "gpt_4o", shard)]
    assert len({plan.brief for plan in plans}) > 0.95 * len(plans)
    assert combinations(FULL, SECTION) > 100_000
    tokens = [1.33 * (plan.brief.answer_words or 0) for plan in plans]
    assert sum(tokens) / len(tokens) > 300


def test_lengths_are_said_in_round_words() -> None:
    section = SECTION.model_copy(update={"answer_words": Words(minimum=50, maximum=1500)})
    for seed in range(300):
        words = draw_brief(FULL, section, "report", 100_000, Random(seed)).answer_words or 0
        assert words % (10 if words < 100 else 50 if words < 500 else 100) == 0
