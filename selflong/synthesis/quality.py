"""Rules that tell what cannot be used from what can; the statistics count under the rules' names."""

import re
from collections.abc import Iterable, Iterator, Set

from selflong.llm import Answer
from selflong.recipe.synthesis import Gates
from selflong.synthesis.words import FUNCTION_WORDS, INSTRUCTION_BEGINNINGS, TASK_BEGINNINGS

# ------------------------------------------------------------------------------------ instructions

NO_INSTRUCTION = "no instruction"
NOT_SELF_CONTAINED = "instruction not self-contained"
REFUSAL = "refusal"
TRUNCATED = "truncated"
REPEATED = "repeated n-grams"
EMPTY = "empty"
META_TALK = "meta-talk"
WRONG_LANGUAGE = "wrong language"
UNGROUNDED = "not grounded"
OFF_TOPIC = "not about its source"
COPIED = "copies the prompt's example"
OTHER_FAMILY = "not of its family"

_SHORTEST_INSTRUCTION = 5  # words
_REPEATED_INSTRUCTION = 0.2
_SHARED_WITH_SOURCE = 0.15
_SHORTEST_TASK = 12  # words
_SHARED_WORDS = 2
"""Content words that a task has in common with the chunk that it was written after."""
_SENTENCES = re.compile(r"(?:[.!:;]|\n)\W*")
_LABEL = re.compile(
    r"^\W*(?:question|instruction|task|request|prompt|title|answer)s?\b[^:\n]{0,12}:\s*",
    re.IGNORECASE,
)
_BEFORE_TASK = re.compile(
    r"^\W*subject\b(?:(?s:.*?)\n(?=\W*task\b[^:\n]{0,12}:)|[^\n]*\n(?:\W*particulars\b[^\n]*\n)?)",
    re.IGNORECASE,
)
"""Lines that make the generator choose what to ask about before it asks."""
_WISH = re.compile(
    r"\b(?:i|we)(?: am| are|['’](?:m|re|d)| would)? (?:need|want|like|looking for)\b|"
    r"\bthe \w+ (?:should|must|is to|needs to)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(
    r"\n\W*(?:(?:task )?(?:explanation|answer|solution|response|rationale|note|format)s?"
    r"(?:\W*(?::|\n)|\b[^:\n.?!]{0,80}:)|(?:in )?this task\b)|\n\s*\|",
    re.IGNORECASE,
)
"""Where a task ends and what was written about it begins, or its result: a table."""
_QUOTES = "\"'“”‘’*`# \t\n"
_PART = re.compile(r"^\s*(?:\(?[a-z0-9][.)]|[-*•])\s")
_OTHER_TEXT = re.compile(
    r"\b(?:(?:the|this|these|that|your|given|provided|following|above) "
    r"(?:given |provided |following |above |previous )?"
    r"(?:text|passage|excerpt|question|prompt|snippet|chunk|input)s?|"
    r"(?:text|passage) above|the user|aforementioned|in this context)\b",
    re.IGNORECASE,
)
_THE_PIECE = re.compile(
    r"\b(?:(?:the|this|that|given|provided|above) (?:given |provided |above )?"
    r"(?:text|passage|excerpt|snippet|chunk|piece|paragraph|article|page)\b"
    r"(?! (?:of|should|must|will|shall|needs?|has to|is to|ought)\b)|"
    r"(?:text|passage|piece) above|(?:in|by|from|of) this document\b|(?:given|provided|above) document\b|"
    r"(?:given|provided) \w+ (?:text|passage|excerpt|document)\b|"
    r"the following (?:texts|passages|documents)\b|aforementioned\b)",
    re.IGNORECASE,
)
"""Not where a text that is wanted is spoken of: it should be so, it is the text of something."""
_REFUSALS = re.compile(
    r"\b(?:as an? (?:ai|language model|assistant)|i(?:'m| am) (?:an? (?:ai|language model|assistant|helpful)|"
    r"sorry|afraid|unable|not able|not sure|ready to)|"
    r"i (?:cannot|can't|can not|could not|couldn't|don't have) "
    r"|i apologi[sz]e|how can i (?:help|assist)|would you like|smollm|hugging face)",
    re.IGNORECASE,
)


def find_instruction(
    answer: Answer,
    source: str,
    example_names: Set[str] = frozenset(),
    form: re.Pattern[str] | None = None,
) -> tuple[str | None, str]:
    """The question in what the generator wrote after reading `source`, or None and the reason.

    Only its first paragraph counts, with the parts of a question that are set as a list; labels and
    quotation marks around it go. It must take up words of the source: an instruction about something else,
    such as the prompt's example, did not follow it. No more did one that takes names from the example, or
    that has not the `form` of its family.
    """
    written = _LABEL.sub("", answer.text.strip())
    paragraph = _first_paragraph(written)
    instruction = paragraph.strip(_QUOTES)
    if "?" in instruction:
        instruction = instruction[: instruction.rindex("?") + 1]
    elif answer.finish_reason != "stop" and written.endswith(paragraph):
        return None, TRUNCATED
    fault = next(_question_faults(instruction, source, example_names), None)
    if fault is None and form is not None and not form.search(instruction):
        fault = OTHER_FAMILY
    return (None, fault) if fault else (instruction, "")


def find_task(answer: Answer, source: str, drawn: Iterable[str]) -> tuple[str | None, str]:
    """The task, of any number of paragraphs, in what the generator wrote after reading `source`, or None and
    the reason. The lines before it go, and what it adds under a label: an explanation, an answer.

    drawn: what it was told to ask for, whose words say nothing about its subject. That must be the source's.
    """
    written = _LABEL.sub("", _BEFORE_TASK.sub("", answer.text.strip()))
    task = _COMMENT.split(written)[0].strip(_QUOTES)
    if answer.finish_reason != "stop" and task == written.strip(_QUOTES):
        return None, TRUNCATED
    fault = next(_task_faults(task, source, content_words(" ".join(drawn))), None)
    return (None, fault) if fault else (task[0].upper() + task[1:], "")


def _task_faults(task: str, source: str, drawn: Set[str]) -> Iterator[str]:
    if _REFUSALS.search(task):
        yield REFUSAL
    if len(task.split()) < _SHORTEST_TASK or not _demands(task):
        yield NO_INSTRUCTION
    if _THE_PIECE.search(task):
        yield NOT_SELF_CONTAINED
    if repeated_share(task) > _REPEATED_INSTRUCTION:
        yield REPEATED
    if len((content_words(task) - drawn) & content_words(source)) < _SHARED_WORDS:
        yield OFF_TOPIC


def _demands(task: str) -> bool:
    """Whether a sentence of it asks for something or tells somebody to do it."""
    sentences = (re.findall(r"\w+", part.lower()) for part in _SENTENCES.split(task))
    return (
        "?" in task
        or _WISH.search(task) is not None
        or any(words and words[0] in TASK_BEGINNINGS for words in sentences)
    )


def _question_faults(instruction: str, source: str, example_names: Set[str]) -> Iterator[str]:
    words = re.findall(r"\w+", instruction.lower())
    if _REFUSALS.search(instruction):
        yield REFUSAL
    if len(words) < _SHORTEST_INSTRUCTION or not _asks(instruction, words):
        yield NO_INSTRUCTION
    if _OTHER_TEXT.search(instruction):
        yield NOT_SELF_CONTAINED
    if repeated_share(instruction) > _REPEATED_INSTRUCTION:
        yield REPEATED
    if grounding(instruction, [source]) < _SHARED_WITH_SOURCE:
        yield OFF_TOPIC
    if _copies(instruction, source, example_names):
        yield COPIED


def _copies(instruction: str, source: str, example_names: Set[str]) -> bool:
    return any(
        name not in source and re.search(rf"\b{re.escape(name)}\b", instruction)
        for name in example_names
    )


def _first_paragraph(text: str) -> str:
    """The first line, with the list that may follow it."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    taken = [lines[0]]
    for line in lines[1:]:
        if not _PART.match(line):
            break
        taken.append(line)
    return "\n".join(taken)


def _asks(instruction: str, words: list[str]) -> bool:
    return "?" in instruction or words[0] in INSTRUCTION_BEGINNINGS


# ----------------------------------------------------------------------------------------- answers

_META = re.compile(
    r"\b(?:the|these|this|your|my|given|provided|following|above|all) (?:given |provided |above |following )?"
    r"(?:notes?|summar(?:y|ies)|prompt|instructions?)\b(?! of the| by the| for the)|"
    r"\b(?:according to|based on|from) (?:the |these |this )?(?:notes?|summar(?:y|ies))\b|"
    r"\bthe user(?:'s)? (?:question|asks|wants)\b|"
    r"\bthe (?:provided|given|above) (?:text|passage|information)\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[^\W\d_][\w'-]*|\d[\d.,]*\d|\d")
_FACT = re.compile(r"(?<![\w.])\d[\d.,]*|(?<=[\w,;)] )[A-Z][\w-]{2,}")
_SHORTEST_CONTENT_WORD = 4
_LANGUAGE_WORDS = 8
"""Fewer words than this do not tell a language."""
_REPEATED_NGRAM = 4


def content_words(text: str) -> set[str]:
    """Lower-case words that carry content: numbers, and longer words that are no function words."""
    words = (word.lower() for word in WORD.findall(text))
    return {
        word
        for word in words
        if word[0].isdigit() or (len(word) >= _SHORTEST_CONTENT_WORD and word not in FUNCTION_WORDS)
    }


def grounding(answer: str, documents: Iterable[str]) -> float:
    """Share of the answer's content words that occur in its documents; 1 where it has none."""
    missing = words = content_words(answer)
    for document in documents:
        missing = missing - content_words(document)
        if not missing:
            break
    return 1 - len(missing) / len(words) if words else 1.0


def facts(text: str) -> set[str]:
    """Figures, and words with a capital letter where no sentence begins."""
    return {match[0].strip(".,").lower() for match in _FACT.finditer(text)}


def repeated_share(text: str) -> float:
    """Share of the text's 4-grams of words that repeat an earlier one."""
    words = re.findall(r"\w+", text.lower())
    ngrams = [
        tuple(words[i : i + _REPEATED_NGRAM]) for i in range(len(words) - _REPEATED_NGRAM + 1)
    ]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def language_of(text: str) -> str | None:
    """ISO 639-1 code of the language; None where the text is too short to tell."""
    import py3langid  # loads its model when imported

    if len(WORD.findall(text)) < _LANGUAGE_WORDS:
        return None
    return str(py3langid.classify(text)[0])


def find_fault(
    answer: Answer, instruction: str, documents: Iterable[str], gates: Gates
) -> str | None:
    """Name of the first gate that an answer does not pass; the quick ones come first.

    The answer's language must be the instruction's, which follows that of its seed document.
    """
    return next(_faults(answer, instruction, documents, gates), None)


def _faults(
    answer: Answer, instruction: str, documents: Iterable[str], gates: Gates
) -> Iterator[str]:
    text = answer.text.strip()
    most_repeated, least_grounded = gates.maximum_repeated_share, gates.minimum_grounding
    if not text:
        yield EMPTY if answer.finish_reason == "stop" else TRUNCATED
    if gates.refusals and _REFUSALS.search(text):
        yield REFUSAL
    if gates.meta_talk and _META.search(text):
        yield META_TALK
    if gates.truncated and answer.finish_reason != "stop":
        yield TRUNCATED
    if most_repeated is not None and repeated_share(text) > most_repeated:
        yield REPEATED
    if gates.wrong_language and _differs(language_of(text), language_of(instruction)):
        yield WRONG_LANGUAGE
    if least_grounded is not None and grounding(text, documents) < least_grounded:
        yield UNGROUNDED


def _differs(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


# --------------------------------------------------------------------------------------- documents

_SHORT_LINE = 3  # words
_SENTENCE_ENDS = tuple(".!?:;\"'”’)]}»`")
_CONTINUED = re.compile(
    r"(?:\.\.\.|…|\b(?:read more|continue reading|to be continued|continued)\W*)$", re.IGNORECASE
)


def boilerplate_share(text: str) -> float:
    """Share of the non-empty lines that repeat an earlier line or have fewer than 3 words."""
    lines = [line.strip().lower() for line in text.split("\n") if line.strip()]
    seen: set[str] = set()
    found = 0
    for line in lines:
        found += line in seen or len(line.split()) < _SHORT_LINE
        seen.add(line)
    return found / len(lines) if lines else 1.0


def is_truncated(text: str) -> bool:
    """Whether a document stops in the middle: no sentence end, or a hint that it goes on elsewhere."""
    ending = text.rstrip()
    return not ending.endswith(_SENTENCE_ENDS) or _CONTINUED.search(ending[-40:]) is not None
