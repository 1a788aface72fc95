import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selflong.llm import Answer
from selflong.recipe.prompts import load_prompt_set
from selflong.recipe.synthesis import Gates
from selflong.synthesis import quality
from selflong.synthesis.quality import (
    boilerplate_share,
    content_words,
    facts,
    find_fault,
    find_instruction,
    find_task,
    grounding,
    is_truncated,
    repeated_share,
)

SOURCE = "The Danube carried grain and timber before the railways came to Hungary in 1846."
DOCUMENTS = [SOURCE, "Steamships on the Danube lost their freight to the railways after 1850."]
QUESTION = "How did freight on the Danube change when the railways came to Hungary?"
GOOD = (
    "The Danube carried grain and timber until 1846, and its steamships lost freight to railways."
)
ALL_GATES = Gates(
    minimum_grounding=0.5,
    refusals=True,
    meta_talk=True,
    truncated=True,
    wrong_language=True,
    maximum_repeated_share=0.3,
)


def answer(text: str, finish_reason: str = "stop") -> Answer:
    return Answer("key", text, 10, 10, finish_reason)


@pytest.mark.parametrize(
    ("written", "instruction"),
    [
        (QUESTION, QUESTION),
        (f'Question: "{QUESTION}"', QUESTION),
        (f"**Question 1:** {QUESTION}\n\nThe answer is that it fell.", QUESTION),
        (
            "Answer these about the Danube:\n(a) What did it carry?\n(b) Who lost freight?",
            "Answer these about the Danube:\n(a) What did it carry?\n(b) Who lost freight?",
        ),
        (
            "Write an article about freight on the Danube.",
            "Write an article about freight on the Danube.",
        ),
    ],
)
def test_the_instruction_is_found(written: str, instruction: str) -> None:
    assert find_instruction(answer(written), SOURCE) == (instruction, "")


def test_what_is_cut_off_after_the_instruction_does_not_count() -> None:
    written = "Describe how the Danube carried grain.\n\nThe Danube has long been a way for"
    assert find_instruction(answer(written, "length"), SOURCE) == (
        written.split("\n", maxsplit=1)[0],
        "",
    )


@pytest.mark.parametrize(
    ("written", "finish_reason", "reason"),
    [
        ("", "stop", quality.NO_INSTRUCTION),
        ("The Danube carried grain and timber to Hungary.", "stop", quality.NO_INSTRUCTION),
        ("Which Danube freight?", "stop", quality.NO_INSTRUCTION),
        ("Describe how the Danube carried grain and", "length", quality.TRUNCATED),
        ("Describe how the Danube carried grain and", "content_filter", quality.TRUNCATED),
        ("", "no content", quality.TRUNCATED),
        ("I'm sorry, could you tell me more about the Danube?", "stop", quality.REFUSAL),
        ("What does the text above say about the Danube?", "stop", quality.NOT_SELF_CONTAINED),
        ("What did the aforementioned Danube carry?", "stop", quality.NOT_SELF_CONTAINED),
        (
            "What is the Danube, what is the Danube, what is the Danube?",
            "stop",
            quality.REPEATED,
        ),
        ("Why do volcanoes erupt under glaciers in Iceland?", "stop", quality.OFF_TOPIC),
    ],
)
def test_what_is_no_instruction_is_named(written: str, finish_reason: str, reason: str) -> None:
    assert find_instruction(answer(written, finish_reason), SOURCE) == (None, reason)


def test_a_name_of_the_prompts_example_must_stand_in_the_source() -> None:
    written = "How did the Danube and the Rhine carry grain and timber to Hungary?"
    names = frozenset({"Danube", "Rhine"})
    assert find_instruction(answer(written), SOURCE, names) == (None, quality.COPIED)
    both = f"{SOURCE} So did the Rhine."
    assert find_instruction(answer(written), both, names) == (written, "")


@pytest.mark.parametrize(
    ("family", "of_it", "of_another"),
    [
        (
            "comparison",
            "How did freight on the Danube differ from that of the railways?",
            "What did the Danube carry before 1846?",
        ),
        (
            "evidence",
            "Why did the Danube lose its grain, and what evidence shows it?",
            "How much grain did the Danube carry in 1846?",
        ),
        (
            "multipart",
            "What did the Danube carry, and when did the railways come to Hungary?",
            "What did the Danube carry before the railways?",
        ),
        (
            "timeline",
            "How did freight on the Danube change after 1846?",
            "What did the Danube carry in 1846?",
        ),
    ],
)
def test_a_family_has_a_form(family: str, of_it: str, of_another: str) -> None:
    form = load_prompt_set("compact").rules.families[family].says
    assert find_instruction(answer(of_it), SOURCE, form=form) == (of_it, "")
    assert find_instruction(answer(of_another), SOURCE, form=form) == (None, quality.OTHER_FAMILY)


QUESTION_WORDS = {"How", "What", "Which", "Who", "Why", "When", "Should", "Is"}
TASK = (
    "Compare how grain and timber reached Hungary before and after 1846, by speed, cost and the goods "
    "that were carried.\n\nA teacher will use it, so write numbered points, about 300 words."
)
DRAWN = ["a comparison by criteria of grain and timber", "a teacher", "numbered points"]


@pytest.mark.parametrize(
    ("written", "finish_reason", "reason"),
    [
        (TASK, "stop", ""),
        (f"**Task:** {TASK}", "stop", ""),
        (f"{TASK}\n\n**Explanation:** The task needs", "length", ""),
        (f"Subject: freight on the Danube\nTask: {TASK}", "stop", ""),
        (f"Subject: the Danube\nParticulars: Hungary, 1846\n**Task:** {TASK}", "stop", ""),
        (f"Subject: the Danube\n\nParticulars:\n- Hungary\n- 1846\n\nTask: {TASK}", "stop", ""),
        (f"Request: {TASK}", "stop", ""),
        (TASK, "length", quality.TRUNCATED),
        ("Compare grain and timber in Hungary.", "stop", quality.NO_INSTRUCTION),
        (
            "Freight on the Danube fell after 1846, when railways came to Hungary and took the grain.",
            "stop",
            quality.NO_INSTRUCTION,
        ),
        (
            "I am looking for an article on freight on the Danube: the railways that came to Hungary in "
            "1846, and the grain that they took.",
            "stop",
            "",
        ),
        (
            "A short essay on freight on the Danube and in Hungary. The essay should cover grain and timber.",
            "stop",
            "",
        ),
        (f"{TASK} Use the text above.", "stop", quality.NOT_SELF_CONTAINED),
        (f"{TASK} Use the events described in this document.", "stop", quality.NOT_SELF_CONTAINED),
        (f"{TASK} Use what the given document says.", "stop", quality.NOT_SELF_CONTAINED),
        (f"{TASK} Use the given long passage.", "stop", quality.NOT_SELF_CONTAINED),
        (f"{TASK} Use the following documents.", "stop", quality.NOT_SELF_CONTAINED),
        (f"{TASK} Keep to the text of the treaty, and this document to 300 words.", "stop", ""),
        (
            f"{TASK} The text should have a formal tone, and the article is to end in 1846.",
            "stop",
            "",
        ),
        ("I cannot write a task about the Danube, " + TASK, "stop", quality.REFUSAL),
        (
            "Compare how sugar and cotton reached Brazil, and how grain and timber did, for a teacher, in "
            "numbered points.",
            "stop",
            quality.OFF_TOPIC,
        ),
        (f"{TASK} " * 3, "stop", quality.REPEATED),
    ],
)
def test_a_task_asks_for_work_on_the_subject_of_its_source(
    written: str, finish_reason: str, reason: str
) -> None:
    found = find_task(answer(written, finish_reason), SOURCE, DRAWN)
    kept = re.split("Task:|Request:", written)[-1].lstrip("* ").partition("\n\n**Explanation")[0]
    assert found == ((None, reason) if reason else (kept, ""))


def test_what_precedes_a_task_without_its_label_goes() -> None:
    for before in ("Subject: the Danube\n", "Subject: the Danube\nParticulars: Hungary, 1846\n\n"):
        assert find_task(answer(before + TASK), SOURCE, DRAWN) == (TASK, "")


@pytest.mark.parametrize(
    "added",
    [
        "\n\nExplanation of why it suits a teacher: it has criteria.",
        "\nIn this task the assistant is asked to compare.",
        "\n\n| Year | Grain |\n|---|---|\n| 1846 | much |",
    ],
)
def test_what_is_added_to_a_task_goes(added: str) -> None:
    assert find_task(answer(TASK + added), SOURCE, DRAWN) == (TASK, "")


def test_a_task_begins_with_a_capital() -> None:
    assert find_task(answer("c" + TASK[1:]), SOURCE, DRAWN) == (TASK, "")


def test_every_opening_of_the_full_set_demands_something() -> None:
    for family in load_prompt_set("full").rules.families.values():
        for opening in family.openings:
            ending = "?" if opening.split()[0] in QUESTION_WORDS else "."
            task = f"{opening} freight on the Danube and grain in Hungary before and after 1846{ending}"
            assert find_task(answer(task), SOURCE, DRAWN) == (task, "")


def test_facts_are_figures_and_names() -> None:
    text = "Grain cost 3.50 in 1846, as Hungary and the Danube show. Timber cost 1,200."
    assert facts(text) == {"3.50", "1846", "hungary", "danube", "1,200"}
    assert facts("Nothing is said of it.") == set()


@pytest.mark.parametrize(
    ("text", "finish_reason", "fault"),
    [
        (GOOD, "stop", None),
        ("", "stop", quality.EMPTY),
        ("I'm sorry, but I cannot say what the Danube carried.", "stop", quality.REFUSAL),
        ("The summary says that the Danube carried grain.", "stop", quality.META_TALK),
        (GOOD, "length", quality.TRUNCATED),
        (GOOD, "content_filter", quality.TRUNCATED),
        ("", "no content", quality.TRUNCATED),
        ("The Danube carried grain. " * 5, "stop", quality.REPEATED),
        (
            "Die Donau trug Getreide und Holz, bevor die Eisenbahn nach Ungarn kam, und danach weniger.",
            "stop",
            quality.WRONG_LANGUAGE,
        ),
        ("Volcanoes erupt under glaciers because magma rises quickly.", "stop", quality.UNGROUNDED),
    ],
)
def test_each_gate_names_its_fault(text: str, finish_reason: str, fault: str | None) -> None:
    assert find_fault(answer(text, finish_reason), QUESTION, DOCUMENTS, ALL_GATES) == fault


def test_gates_that_are_off_let_everything_but_nothing_pass() -> None:
    volcanoes = answer("As an AI I cannot answer. " * 9, "length")
    assert find_fault(volcanoes, QUESTION, DOCUMENTS, Gates()) is None
    assert find_fault(answer("  "), QUESTION, DOCUMENTS, Gates()) == quality.EMPTY


@given(text=st.text(max_size=300))
def test_a_text_is_grounded_in_itself(text: str) -> None:
    assert grounding(text, [text]) == 1
    assert 0 <= repeated_share(text) < 1
    assert 0 <= grounding(text, ["Danube"]) <= 1


def test_content_words_are_numbers_and_long_words() -> None:
    assert content_words("The Danube carried 1,234 tons of it, which was its most.") == {
        "danube",
        "carried",
        "1,234",
        "tons",
    }


def test_boilerplate_and_truncated_documents() -> None:
    article = "The Danube carried grain.\nThe Rhine carried coal.\nBoth reach a sea."
    assert boilerplate_share(article) == 0
    assert boilerplate_share(article + "\nHome\nLogin\nBoth reach a sea.") == 0.5
    assert boilerplate_share("") == 1
    assert not is_truncated(article)
    assert is_truncated(article + " And then the")
    assert is_truncated(article + " Read more.")
    assert is_truncated(article + " And then...")
