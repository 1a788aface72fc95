"""The trained model's tokenizer: exact counts, plain-text encoding, chat rendering with token roles.

Text that looks like a control token (`<|im_end|>`, `<|eot_id|>`) is ordinary text wherever it comes from
data; only the chat template writes control tokens.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import tokenizers

from selflong.formats import TokenRole, digest
from selflong.job import UserError
from selflong.recipe.section import DATE

# Loading transformers takes two seconds, which jobs that name a tokenizer and load none do not wait for.
if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Message = dict[str, Any]
"""A message of formats.MESSAGES: {"role", "parts": [{"kind": prompt | document | response, "text"}]}."""

DEFAULT_CHAT_DATE = "26 Jul 2024"
_BATCH_CHARACTERS = 1 << 22
_PART_ROLES = {
    "prompt": TokenRole.PROMPT,
    "document": TokenRole.DOCUMENT,
    "response": TokenRole.RESPONSE,
}

# A message's stand-in: private-use characters mark it, the tabs tell whether the template trims.
_STAND_IN = "\t\ue000{index}\ue001\t"
_SLOT = re.compile("(\t?)\ue000(\\d+)\ue001(\t?)")

_TRIAL: tuple[Message, ...] = (
    {"role": "user", "parts": [{"kind": "prompt", "text": "What is  2 + 2?\n\nSay why."}]},
    {"role": "assistant", "parts": [{"kind": "response", "text": "Four. Count on your fingers."}]},
    {"role": "user", "parts": [{"kind": "prompt", "text": "Thanks"}]},
    {"role": "assistant", "parts": [{"kind": "response", "text": "Gladly!"}]},
)


class CannotRender(UserError):
    """The chat template refuses a conversation, or writes something else than its text."""


@dataclass(frozen=True)
class Rendered:
    """Tokens of one conversation."""

    ids: np.ndarray
    """uint32 [tokens]"""
    roles: np.ndarray
    """uint8 [tokens] of formats.TokenRole"""


@dataclass(frozen=True)
class _Slot:
    """The place of a message's text in what the template writes."""

    message: int
    trims_left: bool
    trims_right: bool


@dataclass(frozen=True)
class _Control:
    """A control token that the template wrote, in characters of the rendered text."""

    start: int
    end: int
    id: int


@dataclass(frozen=True)
class _Span:
    """A part of a message, in characters of the rendered text."""

    start: int
    end: int
    role: TokenRole
    ends_response: bool


def message(role: str, text: str) -> Message:
    """A message of one part."""
    kind = "response" if role == "assistant" else "prompt"
    return {"role": role, "parts": [{"kind": kind, "text": text}]}


class Tokenizer:
    """A fast tokenizer of transformers with its chat template; see `load_tokenizer`."""

    def __init__(
        self,
        pretrained: "PreTrainedTokenizerFast",
        chat_date: str,
        system_prompt: str | None = None,
        template_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        from transformers.utils.chat_template_utils import _compile_jinja_template

        self._pretrained = pretrained
        self._chat_date = chat_date
        self._system_prompt = system_prompt
        self._arguments = dict(template_arguments or {})
        self._moment = _parse_date(chat_date)
        template = pretrained.chat_template and pretrained.get_chat_template()
        # apply_chat_template itself cannot be given another clock.
        self._template = _compile_jinja_template(template) if template else None
        self._controls = _control_tokens(pretrained.backend_tokenizer)
        self._control_pattern = re.compile(
            "|".join(re.escape(text) for text in sorted(self._controls, key=len, reverse=True))
            or r"(?!)"
        )
        if found := self._control_pattern.search(system_prompt or ""):
            raise UserError(
                f"the system prompt holds {found[0]!r}, a control token of the tokenizer in "
                f"{pretrained.name_or_path}: leave it out, the chat template writes those"
            )
        self.plain = _plain_backend(pretrained.backend_tokenizer, self._controls)
        """Without control tokens: text like one stays text."""
        self._skeleton = lru_cache(maxsize=4096)(self._make_skeleton)
        self._check_plain()
        self.bos_id: int | None = pretrained.bos_token_id
        self.eos_id: int | None = pretrained.eos_token_id
        self.vocabulary_size: int = len(pretrained)
        self.end_ids: tuple[int, ...] = self._find_end_ids()
        self.vocabulary_digest: str = vocabulary_digest(pretrained.backend_tokenizer)
        self.digest: str = digest(
            {
                "backend": json.loads(pretrained.backend_tokenizer.to_str()),
                "special": {name: str(t) for name, t in pretrained.special_tokens_map.items()},
                "chat_template": pretrained.chat_template,
                "chat_date": chat_date,
            }
        )

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._pretrained, self._chat_date, self._system_prompt, self._arguments)
        return Tokenizer, given

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no token is added, and text like a control token stays text."""
        return list(self.plain.encode(text, add_special_tokens=False).ids)

    def escape(self, text: str) -> str:
        """`text` with a space inside what looks like a control token, for servers that take text alone."""
        return self._control_pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def count(self, text: str) -> int:
        """Number of tokens of plain text."""
        return len(self.plain.encode(text, add_special_tokens=False))

    def count_many(self, texts: Sequence[str]) -> np.ndarray:
        """int64 [texts]: number of tokens of each; batches go through all threads of the tokenizer."""
        counts = [
            len(encoding)
            for batch in _batches(texts)
            for encoding in self.plain.encode_batch_fast(batch, add_special_tokens=False)
        ]
        return np.array(counts, dtype=np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of ids, control tokens included."""
        return self._pretrained.backend_tokenizer.decode(
            [int(token) for token in ids], skip_special_tokens=False
        )

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = False) -> Rendered:
        """Tokens of a conversation as the chat template writes it, with the role of each.

        The ids equal `apply_chat_template(tokenize=True)` where no text looks like a control token. A token
        that reaches over a boundary has the role of its last character that stands in a message's text.

        Raises CannotRender where the template refuses the conversation or changes its text.
        """
        text, controls, spans = self._lay_out(self._introduced(messages), add_generation_prompt)
        ends = _response_ends(controls, spans)
        bounds = [(before, after) for before, after in _gaps(controls, len(text))]
        encodings = self.plain.encode_batch(
            [text[start:end] for start, end in bounds], add_special_tokens=False
        )
        ids: list[np.ndarray] = []
        roles: list[np.ndarray] = []
        for position, ((start, _), encoding) in enumerate(zip(bounds, encodings, strict=True)):
            ids.append(np.array(encoding.ids, dtype=np.uint32))
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + start
            roles.append(_roles(offsets, spans))
            if position < len(controls):
                ids.append(np.array([controls[position].id], dtype=np.uint32))
                role = TokenRole.END if position in ends else TokenRole.TEMPLATE
                roles.append(np.array([role], dtype=np.uint8))
        return Rendered(np.concatenate(ids), np.concatenate(roles))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation up to where the model goes on."""
        ids: list[int] = self.render(messages, add_generation_prompt=True).ids.tolist()
        return ids

    def _introduced(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The conversation after the system prompt, where there is one and it begins with no other."""
        if self._system_prompt is None or (messages and messages[0]["role"] == "system"):
            return messages
        parts = [{"kind": "prompt", "text": self._system_prompt}]
        return [{"role": "system", "parts": parts}, *messages]

    def _lay_out(
        self, messages: Sequence[Message], add_generation_prompt: bool
    ) -> tuple[str, list[_Control], list[_Span]]:
        """The rendered text, with the template's control tokens and the messages' parts in it."""
        contents = ["".join(part["text"] for part in message["parts"]) for message in messages]
        roles = tuple(message["role"] for message in messages)
        pieces: list[str] = []
        controls: list[_Control] = []
        spans: list[_Span] = []
        length = 0
        for piece in self._skeleton(roles, add_generation_prompt):
            if isinstance(piece, str):
                controls.extend(self._find_controls(piece, length))
                pieces.append(piece)
            else:
                content = contents[piece.message]
                start = len(content) - len(content.lstrip()) if piece.trims_left else 0
                end = len(content.rstrip()) if piece.trims_right else len(content)
                spans.extend(_part_spans(messages[piece.message], start, end, length))
                pieces.append(content[start:end])
            length += len(pieces[-1])
        text = "".join(pieces)
        whole = self._write(roles, contents, add_generation_prompt)
        if text != whole:
            raise CannotRender(
                "the chat template changes the text of this conversation: leave the conversation out, "
                "or use a template that writes each message as it is"
            )
        return text, self._absorb_space(controls, text), spans

    def _make_skeleton(
        self, roles: tuple[str, ...], add_generation_prompt: bool
    ) -> tuple[str | _Slot, ...]:
        """What the template writes around messages of these roles, and where their texts go."""
        stand_ins = [_STAND_IN.format(index=index) for index in range(len(roles))]
        written = self._write(roles, stand_ins, add_generation_prompt)
        pieces: list[str | _Slot] = []
        position = 0
        for match in _SLOT.finditer(written):
            pieces.append(written[position : match.start()])
            pieces.append(_Slot(int(match[2]), not match[1], not match[3]))
            position = match.end()
        slots = [piece.message for piece in pieces if isinstance(piece, _Slot)]
        for index, role in enumerate(roles):
            if slots.count(index) != 1:
                raise CannotRender(
                    f"the chat template writes the text of the {role}'s message {slots.count(index)} times "
                    "in place of once: use a template that writes each message as it is"
                )
        return (*pieces, written[position:])

    def _write(
        self, roles: Sequence[str], contents: Sequence[str], add_generation_prompt: bool
    ) -> str:
        if self._template is None:
            raise UserError(
                f"the tokenizer in {self._pretrained.name_or_path} has no chat template: "
                "use an instruction-tuned model's tokenizer"
            )
        conversation = [
            {"role": role, "content": content}
            for role, content in zip(roles, contents, strict=True)
        ]
        try:
            return self._template.render(
                messages=conversation,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                date_string=self._chat_date,
                strftime_now=self._moment.strftime,
                **self._arguments,
                **self._pretrained.special_tokens_map,
            )
        except jinja2.TemplateError as error:
            raise CannotRender(f"the chat template refuses this conversation: {error}") from None

    def _find_controls(self, template_text: str, start: int) -> Iterator[_Control]:
        for match in self._control_pattern.finditer(template_text):
            token, _ = self._controls[match[0]]
            yield _Control(start + match.start(), start + match.end(), token)

    def _absorb_space(self, controls: list[_Control], text: str) -> list[_Control]:
        """Some tokenizers let a control token swallow the white space beside it."""
        absorbed = []
        for control in controls:
            start, end = control.start, control.end
            _, token = self._controls[text[start:end]]
            if token.lstrip:
                start = len(text[:start].rstrip())
            if token.rstrip:
                end = len(text) - len(text[end:].lstrip())
            absorbed.append(_Control(start, end, control.id))
        return absorbed

    def _check_plain(self) -> None:
        known = {token for token, _ in self._controls.values()}
        for text in self._controls:
            if known & set(self.encode(text)):
                raise UserError(
                    f"the tokenizer in {self._pretrained.name_or_path} cannot encode {text!r} as plain "
                    "text, so data could write control tokens: use another model's tokenizer"
                )

    def _find_end_ids(self) -> tuple[int, ...]:
        """The end-of-sequence token and what the template writes after a response; checks the rendering."""
        eos = {self._pretrained.eos_token_id} - {None}
        if self._template is None:
            return tuple(sorted(eos))
        rendered = self.render(_TRIAL)
        trial = self._introduced(_TRIAL)
        text = self._write(
            [message["role"] for message in trial],
            [message["parts"][0]["text"] for message in trial],
            add_generation_prompt=False,
        )
        expected = self._pretrained.encode(text, add_special_tokens=False)
        if rendered.ids.tolist() != expected:
            raise UserError(
                f"the tokenizer in {self._pretrained.name_or_path} splits text in a way that is not "
                "supported (its ids depend on what stands before a control token): use another one"
            )
        return tuple(sorted(eos | set(rendered.ids[rendered.roles == TokenRole.END].tolist())))


def load_tokenizer(
    folder: Path,
    chat_date: str = DEFAULT_CHAT_DATE,
    system_prompt: str | None = None,
    template_arguments: Mapping[str, Any] | None = None,
) -> Tokenizer:
    """The tokenizer of a Hugging Face model folder, with the date that its chat template prints pinned.

    Conversations begin with `system_prompt` where one is given; the template gets `template_arguments` too.

    Raises UserError where the folder holds no fast tokenizer, or one that cannot keep text and control tokens
    apart.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if not Path(folder).is_dir():
        raise UserError(f"{folder} does not exist: it must be a folder with a tokenizer.json")
    try:
        pretrained = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # its library in Rust knows no other kind
        first_line = str(error).strip().partition("\n")[0].rstrip(" :")
        raise UserError(
            f"{folder} holds no tokenizer that can be loaded ({first_line}): name a model's whole folder"
        ) from None
    if not isinstance(pretrained, PreTrainedTokenizerFast):
        raise UserError(f"{folder} holds no fast tokenizer: a tokenizer.json is needed")
    return Tokenizer(pretrained, chat_date, system_prompt, template_arguments)


def vocabulary_digest(backend: tokenizers.Tokenizer) -> str:
    """Of what decides which id a text gets, and what an id means: not of templates or padding."""
    state = json.loads(backend.to_str())
    added = {token["content"]: token["id"] for token in state["added_tokens"]}
    return digest([state["normalizer"], state["pre_tokenizer"], state["model"], added])


def _parse_date(chat_date: str) -> datetime:
    try:
        return datetime.strptime(chat_date, DATE)
    except ValueError:
        raise UserError(f"chat_date: {chat_date!r} must read like '26 Jul 2024'") from None


def _control_tokens(backend: tokenizers.Tokenizer) -> dict[str, tuple[int, tokenizers.AddedToken]]:
    """Text -> id and token of each added token, but for runs of white space, which are ordinary text."""
    return {
        token.content: (index, token)
        for index, token in backend.get_added_tokens_decoder().items()
        if token.content.strip()
    }


def _plain_backend(backend: tokenizers.Tokenizer, controls: Any) -> tokenizers.Tokenizer:
    """A copy that sees no control token in any text and whose offsets keep white space."""
    state = json.loads(backend.to_str())
    for token in state["added_tokens"]:
        token["special"] = token["content"] in controls
    plain = tokenizers.Tokenizer.from_str(
        json.dumps({**state, "post_processor": None, "truncation": None, "padding": None})
    )
    plain.encode_special_tokens = True
    return plain


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in order, a few million characters at a time, so that encodings do not fill the memory."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _part_spans(message: Message, start: int, end: int, offset: int) -> Iterator[_Span]:
    """The parts of a message whose characters `start` to `end` are written at `offset`."""
    position = 0
    parts = message["parts"]
    for index, part in enumerate(parts):
        first, last = max(position, start), min(position + len(part["text"]), end)
        position += len(part["text"])
        is_response = message["role"] == "assistant" and part["kind"] == "response"
        ends_response = is_response and index == len(parts) - 1
        if first < last or ends_response:
            role = TokenRole.SYSTEM if message["role"] == "system" else _PART_ROLES[part["kind"]]
            yield _Span(offset + first - start, offset + last - start, role, ends_response)


def _response_ends(controls: list[_Control], spans: list[_Span]) -> set[int]:
    """Positions of the control tokens that end a response: the first after it, before any other text."""
    starts = [control.start for control in controls]
    ends = set()
    for index, span in enumerate(spans):
        if not span.ends_response:
            continue
        after = spans[index + 1].start if index + 1 < len(spans) else None
        position = bisect_left(starts, span.end)
        if position < len(starts) and (after is None or starts[position] < after):
            ends.add(position)
    return ends


def _gaps(controls: list[_Control], length: int) -> Iterator[tuple[int, int]]:
    """The text between control tokens, one more than there are control tokens; some are empty."""
    position = 0
    for control in controls:
        yield position, max(position, control.start)
        position = control.end
    yield position, max(position, length)


def _roles(offsets: np.ndarray, spans: list[_Span]) -> np.ndarray:
    """uint8 [tokens]: role of the last span that a token's characters [start, end) reach into."""
    roles = np.full(len(offsets), TokenRole.TEMPLATE, dtype=np.uint8)
    if not spans:
        return roles
    starts = np.array([span.start for span in spans])
    ends = np.array([span.end for span in spans])
    span_roles = np.array([span.role for span in spans], dtype=np.uint8)
    last = np.searchsorted(starts, offsets[:, 1], side="left") - 1
    inside = (last >= 0) & (ends[last] > offsets[:, 0])
    roles[inside] = span_roles[last[inside]]
    return roles
