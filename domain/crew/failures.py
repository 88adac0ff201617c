"""What the errors of LiteLLM, its SDKs and the transport mean: typed failures in our own words, never in theirs."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import openai
from litellm import exceptions as refusals

from domain.crew.operator_models import KEY_VARIABLES
from domain.crew.tools.watched import ToolFault
from domain.errors import FailureCode, RunFailed
from domain.model.identity import utc_now
from domain.ports import ModelRequest

MOST_RETRY_SECONDS: Final = 3600.0
"""Nobody waits longer for a provider, whatever it says."""

_REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = 300, 400, 500
_BAD, _TIMED_OUT, _TOO_MANY, _NOT_FOUND, _SILENT, _GATEWAY_TIMED_OUT = 400, 408, 429, 404, 503, 504
_TIME_OUTS: Final = frozenset({_TIMED_OUT, _GATEWAY_TIMED_OUT})
_WAITING: Final = frozenset({_TOO_MANY, _SILENT})
_TOO_LONG: Final = ("context_length_exceeded", "maximum context length", "context window")
_UNREADABLE: Final = (json.JSONDecodeError, UnicodeDecodeError, httpx.DecodingError)
_UNSENT: Final = (
    ToolFault,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
"""What went wrong before a request left."""

_IDENTIFIER: Final = re.compile(r"(?=.*[a-z])[a-z0-9_.-]{1,60}")
_MISSHAPEN: Final = (AttributeError, TypeError, LookupError, ValueError)
"""What it looks like when an answer has other parts than OpenAI's."""


def failure_of(error: BaseException, request: ModelRequest) -> RunFailed:
    """The typed failure that stands for the error, with the time that the provider asks to be left alone."""
    failure = _failure_of(error, request)
    failure.retry_after_seconds = retry_after(error)
    return failure


def may_be_billed(error: BaseException) -> bool:
    """Whether the provider may have begun with the request: then it bills the prompt, even if it never answered.

    Not if the request never left, and not if the answer was an HTTP error.
    """
    if any(isinstance(cause, (*_UNSENT, httpx.HTTPStatusError)) for cause in _chain(error)):
        return False
    # LiteLLM's own checks look like refusals of a provider. Its 408 and 5xx may be a connection that was lost.
    status = getattr(error, "status_code", None)
    return not (isinstance(status, int) and _REDIRECT <= status < _SERVER_ERROR and status != _TIMED_OUT)


def unavailable(message: str) -> RunFailed:
    return RunFailed(FailureCode.MODEL_UNAVAILABLE, message, retryable=True)


def timed_out(message: str) -> RunFailed:
    failure = unavailable(message)
    failure.is_timeout = True
    return failure


def invalid(message: str) -> RunFailed:
    return RunFailed(FailureCode.MODEL_ANSWER_INVALID, message, retryable=True)


def refused(message: str) -> RunFailed:
    return RunFailed(FailureCode.MODEL_REFUSED, message)


def named(model: str) -> str:
    """The name as a message shows it: short, and on one line."""
    return repr(model[:100])


def _failure_of(error: BaseException, request: ModelRequest) -> RunFailed:
    model, causes = named(request.model), list(_chain(error))
    for cause in causes:
        if isinstance(cause, ToolFault):
            return _unreached(model, cause)
    if any(isinstance(cause, httpx.ConnectTimeout) for cause in causes):
        return timed_out(f"The model {model} cannot be reached: nobody takes the connection.")
    if (status := getattr(error, "status_code", None)) in _TIME_OUTS and _is_answered(causes):
        return timed_out(f"The provider of the model {model} did not answer in time (HTTP {status}).")
    if isinstance(error, TimeoutError | refusals.Timeout | openai.APITimeoutError):
        return timed_out(f"The model {model} did not answer within {request.timeout_seconds:g} seconds.")
    if any(isinstance(cause, _UNREADABLE) for cause in causes) or isinstance(error, _MISSHAPEN):
        return invalid(f"The model {model} answered with something that cannot be read.")
    return _refusal(error, request, model)


def _is_answered(causes: Iterable[BaseException]) -> bool:
    """Whether the provider itself gave the status: LiteLLM gives one to everything."""
    return any(isinstance(cause, httpx.HTTPStatusError) for cause in causes)


def _refusal(error: BaseException, request: ModelRequest, model: str) -> RunFailed:
    if request.tools and "support tools" in str(error):
        # These words make CrewAI go on with its text protocol for tools.
        return refused(f"The model {model} does not support tools.")
    if _is_too_long(error):
        return refused(f"The model {model} refused a request longer than it can read.")
    causes = list(_chain(error))  # for LiteLLM makes some refusals more general ones
    for kind, code, reason in _REFUSALS:
        if any(isinstance(cause, kind) for cause in causes):
            failure = RunFailed(code, f"The model {model} {reason}.")
            failure.is_key_refused = kind in _KEY_REFUSALS
            return failure
    status = getattr(error, "status_code", None)
    if status == _BAD and (told := _told(error, request)):
        return refused(f"The model {model} refused the request (HTTP {status}, {told}).")
    return _failure_by_status(model, status)


_REFUSALS: Final[tuple[tuple[type[Exception], FailureCode, str], ...]] = (
    (refusals.ContentPolicyViolationError, FailureCode.MODEL_REFUSED, "refused the request by its content policy"),
    (openai.AuthenticationError, FailureCode.MODEL_REFUSED, "did not accept the credentials it was given"),
    (openai.PermissionDeniedError, FailureCode.MODEL_REFUSED, "may not be used with the credentials it was given"),
    (openai.NotFoundError, FailureCode.MODEL_UNKNOWN, "is not known to its provider"),
)
"""LiteLLM's own errors are subclasses of those of OpenAI's SDK."""

_KEY_REFUSALS: Final = (openai.AuthenticationError, openai.PermissionDeniedError)


def _told(error: BaseException, request: ModelRequest) -> str | None:
    """The provider's own short name for what is wrong; None for a text, which may quote anything, or one with a key."""
    keys = _keys(request)
    for cause in _chain(error):
        for word in (getattr(cause, "code", None), getattr(cause, "type", None)):
            if isinstance(word, str) and _IDENTIFIER.fullmatch(word) and not _quotes(word, keys):
                return word
    return None


def _quotes(word: str, keys: Iterable[str]) -> bool:
    return any(key in word or word in key for key in keys)


def _keys(request: ModelRequest) -> list[str]:
    found = [os.environ.get(variable) for variables in KEY_VARIABLES.values() for variable in variables]
    found.append(request.deployment.api_key if request.deployment else None)
    return [key.strip().lower() for key in found if key and key.strip()]


def _unreached(model: str, fault: ToolFault) -> RunFailed:
    message = f"The address of the model {model} cannot be used: {fault}"
    return unavailable(message) if isinstance(fault.__cause__, OSError) else refused(message)


def _is_too_long(error: BaseException) -> bool:
    if isinstance(error, refusals.ContextWindowExceededError):
        return True
    text = str(error).lower()
    return isinstance(error, openai.BadRequestError) and any(words in text for words in _TOO_LONG)


def _failure_by_status(model: str, status: Any) -> RunFailed:
    if status == _TOO_MANY:
        return unavailable(f"The model {model} takes no more requests for now (HTTP 429).")
    if status == _NOT_FOUND:
        return RunFailed(FailureCode.MODEL_UNKNOWN, f"The model {model} is not known to its provider.")
    if isinstance(status, int) and _REDIRECT <= status < _CLIENT_ERROR:
        return refused(f"The model {model} moved (HTTP {status}), and nobody follows: give its entry the new address.")
    if isinstance(status, int) and _CLIENT_ERROR <= status < _SERVER_ERROR and status != _TIMED_OUT:
        return refused(f"The model {model} refused the request (HTTP {status}).")
    return unavailable(f"The model {model} cannot be reached or failed to answer.")


def retry_after(error: BaseException) -> float | None:
    """The seconds after which a provider that is busy wants to be asked again; None when it does not say."""
    for cause in _chain(error):
        if getattr(cause, "status_code", None) in _WAITING:
            for headers in _headers(cause):
                seconds = _seconds(headers)
                if seconds is not None:
                    return min(seconds, MOST_RETRY_SECONDS)
    return None


def _headers(error: BaseException) -> Iterator[httpx.Headers]:
    # LiteLLM makes a response of its own without the provider's headers, and keeps those beside it.
    response = getattr(error, "response", None)
    for found in (getattr(error, "litellm_response_headers", None), getattr(response, "headers", None)):
        if isinstance(found, Mapping):
            yield httpx.Headers({str(name): str(value) for name, value in found.items()})


def _seconds(headers: httpx.Headers) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms", ""))
    said = headers.get("retry-after", "")
    wanted = milliseconds / 1000 if milliseconds is not None else _number(said)
    if wanted is None:
        wanted = _until(said)
    return wanted if wanted is not None and wanted >= 0 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _until(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (_aware(moment) - utc_now()).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
