from hypothesis import given, settings
from hypothesis import strategies as st

from selflong.synthesis.chunks import JOINT, Piece, document_pieces, pack, split
from selflong.tokens import Tokenizer

WORDS = st.sampled_from(
    [
        "tax",
        "Danube.",
        "why?",
        "\n\n",
        "\n",
        " ",
        "<|im_end|>",
        "naïve",
        "漢字",
        "x" * 90,
        "🚢",
        "1,234",
    ]
)
TEXTS = st.lists(WORDS, max_size=120).map("".join) | st.text(max_size=200)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, limit=st.integers(16, 64))
def test_spans_cover_the_text_and_keep_the_limit(
    smollm2_tokenizer: Tokenizer, text: str, limit: int
) -> None:
    spans = split(text, limit, smollm2_tokenizer)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)
    assert all(smollm2_tokenizer.count(text[start:end]) <= limit for start, end in spans)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXTS, max_size=6), limit=st.integers(16, 64))
def test_packing_keeps_every_piece_in_order(
    smollm2_tokenizer: Tokenizer, texts: list[str], limit: int
) -> None:
    documents = [(f"d{number}", text) for number, text in enumerate(texts)]
    pieces = document_pieces(documents, limit, smollm2_tokenizer)
    chunks = pack(pieces, limit, smollm2_tokenizer)
    assert [piece for chunk in chunks for piece in chunk.pieces] == pieces
    assert all(smollm2_tokenizer.count(chunk.text) <= limit for chunk in chunks)


def test_cuts_stand_at_the_best_place(smollm2_tokenizer: Tokenizer) -> None:
    paragraphs = ["One paragraph tells of rivers. It has two sentences.\n\n"] * 4
    text = "".join(paragraphs)
    two = smollm2_tokenizer.count("".join(paragraphs[:2]))
    assert [text[slice(*span)] for span in split(text, two, smollm2_tokenizer)] == [
        "".join(paragraphs[:2])
    ] * 2
    sentence = smollm2_tokenizer.count(paragraphs[0]) - 3
    first = text[slice(*split(text, sentence, smollm2_tokenizer)[0])]
    assert first == "One paragraph tells of rivers. "


def test_pieces_name_where_they_come_from(smollm2_tokenizer: Tokenizer) -> None:
    text = "A first sentence about taxes. A second one about trade."
    pieces = document_pieces([("a#b", text)], 8, smollm2_tokenizer)
    assert len(pieces) > 1
    for piece in pieces:
        document, _, span = piece.parent.rpartition("#")
        start, end = map(int, span.split("-"))
        assert (document, text[start:end]) == ("a#b", piece.text)


def test_a_long_text_without_any_boundary_is_cut(smollm2_tokenizer: Tokenizer) -> None:
    text = "x" * 5000
    spans = split(text, 100, smollm2_tokenizer)
    assert "".join(text[slice(*span)] for span in spans) == text
    assert max(smollm2_tokenizer.count(text[slice(*span)]) for span in spans) <= 100


def test_a_piece_longer_than_the_limit_is_a_chunk_of_its_own(smollm2_tokenizer: Tokenizer) -> None:
    pieces = [Piece("a", "short"), Piece("b", "long " * 100), Piece("c", "short")]
    chunks = pack(pieces, 20, smollm2_tokenizer)
    assert [chunk.parents for chunk in chunks] == [["a"], ["b"], ["c"]]
    assert chunks[0].text + JOINT + chunks[2].text == "short\n\nshort"
