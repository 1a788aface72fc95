from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.recipe.synthesis import LongInput
from selflong.synthesis.assembly import Document, assemble, with_answer
from selflong.tokens import Tokenizer

LONG_INPUT = {
    "samples": 1,
    "shards": 1,
    "families": {"synthesis": 1},
    "lengths": {"distribution": "uniform", "minimum": 1, "maximum": 10},
    "seed_chunk_tokens": 10,
    "instruction_position": "before",
    "include_seed_document": True,
    "chunk_tokens": 64,
    "instruction_tokens": 20,
    "summary_tokens": 20,
    "answer_tokens": 16,
    "maximum_depth": 2,
    "duplicate_threshold": 0.7,
}
SECTION = LongInput.model_validate(LONG_INPUT)
FRAGMENTS = st.sampled_from(
    ["tax ", "river\n", "\n\n", " ", "<|im_end|>", "naïve.", "漢", "]", "[Do"]
)
TEXTS = st.lists(FRAGMENTS, min_size=1, max_size=60).map("".join)


def documents_of(texts: list[str], tokenizer: Tokenizer) -> list[Document]:
    return [
        Document(f"d{number}", text, tokenizer.count(text)) for number, text in enumerate(texts)
    ]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=8),
    target=st.integers(40, 400),
    position=st.sampled_from(["before", "after", "both"]),
    order=st.sampled_from(["shuffled", "ranked"]),
    answer=TEXTS,
)
def test_input_and_reserve_stay_within_the_target(
    smollm2_tokenizer: Tokenizer,
    texts: list[str],
    target: int,
    position: str,
    order: str,
    answer: str,
) -> None:
    section = SECTION.model_copy(update={"instruction_position": position, "document_order": order})
    ranked = documents_of(texts, smollm2_tokenizer)
    room = target - section.answer_tokens
    sample = assemble("Why is it so?", ranked, room, section, smollm2_tokenizer, Random(1))
    if sample is None:
        return
    rendered = smollm2_tokenizer.render(sample.messages, add_generation_prompt=True)
    assert sample.input_tokens == len(rendered.ids)
    assert sample.input_tokens + section.answer_tokens <= target
    kept = [part["text"] for part in sample.messages[0]["parts"] if part["kind"] == "document"]
    assert kept == [document.text for document in sample.documents]
    assert len({document.id for document in sample.documents}) == len(kept)
    messages, tokens = with_answer(sample, answer, smollm2_tokenizer)
    assert tokens == len(smollm2_tokenizer.render(messages).ids)


def test_a_long_document_does_not_keep_shorter_ones_out(smollm2_tokenizer: Tokenizer) -> None:
    texts = ["A short text. ", "A long text. " * 200, "Another short one. "]
    ranked = documents_of(texts, smollm2_tokenizer)
    section = SECTION.model_copy(update={"document_order": "ranked"})
    sample = assemble("Why?", ranked, 200, section, smollm2_tokenizer, Random(1))
    assert sample is not None
    assert [document.id for document in sample.documents] == ["d0", "d2"]


def test_no_document_fits(smollm2_tokenizer: Tokenizer) -> None:
    ranked = documents_of(["word " * 300], smollm2_tokenizer)
    assert assemble("Why?", ranked, 200, SECTION, smollm2_tokenizer, Random(1)) is None


@pytest.mark.parametrize("order", ["ranked", "shuffled"])
def test_the_order_of_documents(smollm2_tokenizer: Tokenizer, order: str) -> None:
    ranked = documents_of([f"Text number {number}." for number in range(12)], smollm2_tokenizer)
    section = SECTION.model_copy(update={"document_order": order})
    sample = assemble("Why?", ranked, 4000, section, smollm2_tokenizer, Random(1))
    assert sample is not None
    assert sorted(sample.documents, key=lambda each: int(each.id[1:])) == ranked
    assert (sample.documents == ranked) == (order == "ranked")
