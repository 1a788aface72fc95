"""What a reply of an endpoint means. Nothing of it is believed unchecked: what is stored stays for ever."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from selflong.llm.protocol import Answer, Endpoint, Refusal, Request
from selflong.llm.transport import Reply
from selflong.logs import presentable

OVERLOADED = frozenset({429, 503, 529})
TRANSIENT = OVERLOADED | {408, 409, 425}
NO_CREDIT = "the account has no credit left"
NO_CONTENT = "no content"
CHECK_ADDRESS = "check the address"
# The fault lies in the configuration, so every request would meet it.
MISCONFIGURED = {
    401: "check the API key",
    402: NO_CREDIT,
    403: "the API key may not use this model",
    404: "check the address and the model's name",
    405: CHECK_ADDRESS,
    407: "the proxy wants a name and a password: check the environment's proxy",
    410: CHECK_ADDRESS,
}
CHECK_SETTINGS = (
    "check the API key, the model's name, and the generator's `parameters` in config.yaml, which rename "
    "or leave out what an endpoint does not take"
)
REASON_CHARACTERS = 500
LONGEST_WAIT = 3600.0  # seconds, whatever a server says
MOST_TOKENS = 1 << 32
"""More than this no answer has; a count beyond it is none."""

# Texts are those of OpenAI, Azure, Anthropic, Gemini, Mistral, vLLM, llama.cpp and TGI.
_ABOUT_SETTINGS = re.compile(
    r"api.?key|credential|authenti|unauthor|permission|billing|quota|credit|"
    r"unsupported|not supported|unknown|unrecogni[sz]ed|extra inputs|"
    r"supports at most \d+ completion tokens|model.{0,60}(?:does not exist|not found)",
    re.IGNORECASE,
)
_ABOUT_LENGTH = re.compile(
    r"context.?(?:length|window|size)|maximum context|string_above_max_length|too many (?:input )?tokens|"
    r"\b(?:prompt|context|inputs?|messages?|request|content|text|payload|body|entity|string|tokens?)\b"
    r".{0,60}?\b(?:too (?:long|large|big)|exceed)|"
    r"exceeds? .{0,40}\b(?:tokens|context|length)|reduce the (?:length|size)|max_new_tokens.{0,20}must be <=|"
    # vLLM, of a prompt that leaves no token of the context to the answer.
    r"max_tokens must be at least 1, got 0",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT_CONTENT = re.compile(
    r"content.?(?:filter|policy|management|moderation)|moderat|\bsafety|responsible.?ai|flagged|"
    r"data_inspection|inappropriate|sensitive|prohibited|harmful|unsafe|usage polic",
    re.IGNORECASE,
)

_FINISH_REASONS = {
    **dict.fromkeys(("", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token"), "stop"),
    **dict.fromkeys(("max_tokens", "model_length"), "length"),
    **dict.fromkeys(
        ("safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive"),
        "content_filter",
    ),
}
_BROKEN_OFF = frozenset(
    {"error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"}
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An attempt failed, the next may succeed."""

    reason: str
    overload: bool = False
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """The server does not answer, and the fault need not be this request's."""

    reason: str
    mend: str
    by_settings: bool
    """Whether it surely lies in the configuration."""


@dataclass(frozen=True, slots=True)
class _Error:
    message: str
    code: str
    status: int | None = None


class _Malformed(Exception):
    """A reply of status 200 that is not a whole answer."""


Outcome = Answer | Refusal | Trouble | Rejection


def judge(
    key: bytes, request: Request, reply: Reply, endpoint: Endpoint, count: Callable[[str], int]
) -> Outcome:
    """The answer in a reply to `request`, or what stands in its place.

    count: tokens of a text, for where the endpoint does not say how many it used.
    """
    try:
        content = json.loads(reply.body.decode())  # bytes would have their encoding guessed
    except (ValueError, RecursionError):
        content = None
    if reply.status == 200:
        error = next(_errors_inside(content), None)
        if error is None:
            try:
                return _answer(key, request, content, count)
            except (_Malformed, LookupError, TypeError, AttributeError) as fault:
                what = str(fault) if isinstance(fault, _Malformed) else type(fault).__name__
                return Trouble(f"{what} in a reply of {len(reply.body)} bytes")
        return _judge_error(key, error, error.status, reply.headers, endpoint)
    error = _error(content) or _Error(reply.body.decode(errors="replace"), "")
    return _judge_error(key, error, reply.status, reply.headers, endpoint)


# ------------------------------------------------------------------------------------------ answers


def _answer(key: bytes, request: Request, content: Any, count: Callable[[str], int]) -> Answer:
    choice = content["choices"][0]
    message = choice.get("message")
    text = _text(choice["text"] if message is None else message.get("content"))
    finish_reason = _finish_reason(choice.get("finish_reason"))
    if finish_reason in _BROKEN_OFF:
        raise _Malformed(f"finish_reason {finish_reason}")
    if finish_reason == "stop" and not text and _holds_no_content(message):
        finish_reason = NO_CONTENT
    usage = content.get("usage")
    text = text or ""
    return Answer(
        key=key.hex(),
        text=text,
        prompt_tokens=_tokens(usage, "prompt_tokens") or request.prompt_tokens(count),
        completion_tokens=_tokens(usage, "completion_tokens") or count(text),
        finish_reason=finish_reason,
        token_ids=_token_ids(choice.get("token_ids")),
        cached_tokens=_tokens(_details(usage), "cached_tokens") or 0,
    )


def _text(content: Any) -> str | None:
    """A text, or the texts among the parts of a message; what is no character becomes U+FFFD."""
    if isinstance(content, list):
        content = "".join(_text(part["text"]) or "" for part in content if part["type"] == "text")
    if content is None:
        return None
    if not isinstance(content, str):
        raise _Malformed("content that is no text")
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _holds_no_content(message: Any) -> bool:
    """Whether a chat message has none, or in its place what the model reasoned before."""
    return message is not None and (
        message.get("content") is None
        or bool(message.get("reasoning_content") or message.get("reasoning"))
    )


def _finish_reason(given: Any) -> str:
    if not isinstance(given, str | None):
        raise _Malformed("finish_reason that is no text")
    reason = (given or "").lower()
    return _FINISH_REASONS.get(reason, reason)


def _tokens(usage: Any, name: str) -> int | None:
    """A count of the usage; None where it is none."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if _is_count(value, MOST_TOKENS) else None


def _details(usage: Any) -> Any:
    return usage.get("prompt_tokens_details") if isinstance(usage, dict) else None


def _token_ids(given: Any) -> tuple[int, ...] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(_is_count(token, MOST_TOKENS) for token in given):
        raise _Malformed("token_ids that are no ids")
    return tuple(given)


def _is_count(value: Any, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < limit


# ------------------------------------------------------------------------------------------- errors


def _errors_inside(content: Any) -> Iterator[_Error]:
    """The errors in a reply of status 200: of the whole reply, or of its choice."""
    if not isinstance(content, dict):
        return
    choices = content.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for holder in (content, first):
        if isinstance(holder, dict) and holder.get("error"):
            error = _error(holder)
            if error is not None:
                yield error


def _error(content: Any) -> _Error | None:
    """The error that a reply holds, in any of the shapes that servers use."""
    if isinstance(content, list) and content:
        content = content[0]
    if not isinstance(content, dict):
        return None
    error = content.get("error") or content
    if not isinstance(error, dict):
        return _Error(str(error), "")
    code = str(error.get("code") or error.get("type") or "")
    message = error.get("message") or error.get("detail") or json.dumps(error)
    status = int(code) if re.fullmatch("[45][0-9][0-9]", code) else None
    return _Error(str(message), code, status)


def speaks_of_request(status: int, reason: str) -> bool:
    """Whether a server turned a request down for its own length or content."""
    if status == 413:
        return True
    is_of_request = _ABOUT_LENGTH.search(reason) or _ABOUT_CONTENT.search(reason)
    return is_of_request is not None and not _ABOUT_SETTINGS.search(reason)


def _judge_error(
    key: bytes, error: _Error, status: int | None, headers: Mapping[str, str], endpoint: Endpoint
) -> Refusal | Trouble | Rejection:
    reason = _reason(error, status, endpoint)
    if error.code == "insufficient_quota":
        return Rejection(reason, NO_CREDIT, by_settings=True)
    if status in MISCONFIGURED:
        return Rejection(reason, MISCONFIGURED[status], by_settings=True)
    if status is None or (400 <= status < 500 and status not in TRANSIENT):
        if speaks_of_request(status or 400, reason):
            return Refusal(key.hex(), reason, status or 400)
        by_settings = _ABOUT_SETTINGS.search(reason) is not None
        if status is not None or by_settings:
            return Rejection(reason, CHECK_SETTINGS, by_settings)
    if status is not None and 300 <= status < 400:
        return Rejection(reason, CHECK_ADDRESS, by_settings=True)
    return Trouble(reason, status in OVERLOADED, _retry_after(headers))


def _reason(error: _Error, status: int | None, endpoint: Endpoint) -> str:
    """What the server says, without the key, which a provider may quote, and without controls."""
    code = "" if error.code in error.message or error.status else f" ({error.code})"
    said = presentable(f"{error.message}{code}".replace(endpoint.api_key, "***"))
    return (f"status {status}: {said}" if status else said)[:REASON_CHARACTERS]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return min(max(0.0, float(value)), LONGEST_WAIT)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), LONGEST_WAIT)
