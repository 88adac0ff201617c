"""Reaches models through LiteLLM: one streamed HTTP request per call, its tokens, its exact cost, its typed failure."""

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from dataclasses import astuple
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import litellm
from litellm import exceptions as refusals
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

from domain.crew.prices import FREE, Prices, TokenCounts, find_prices
from domain.errors import FailureCode, RunFailed
from domain.model.ledger import TokenSource
from domain.model.model_names import PROVIDERS, SIMULATED, forbidden_provider, is_provider_allowed, prefix_of
from domain.model.role import MODEL_PARAMETERS
from domain.ports import ModelAnswer, ModelRequest, ToolRequest

LOCAL_PROVIDERS: Final = frozenset({"ollama", "ollama_chat"})
PARAMETERS: Final = MODEL_PARAMETERS | {"temperature", "max_tokens", "response_format"}
_UNIVERSAL: Final = frozenset({"max_tokens", "response_format"})
MOST_TOKENS: Final = 1_000_000_000
"""What a provider may say it counted in one call; more is a mistake, and could not be stored."""

BYTES_PER_TOKEN: Final = 4
"""The rule of thumb for estimates; LiteLLM's own counter would ask a model hub or load a tokenizer on the loop."""

_REFERENCE: Final = "os.environ/"

_KEYLESS: Final = frozenset({SIMULATED, "ollama", "ollama_chat", "perplexity"})
"""Providers that need no key, or whose variables LiteLLM does not list rightly."""
"""What LiteLLM would replace by a variable of our environment, which may be a secret."""

MAX_ANSWER_CHARACTERS: Final = 1_000_000
MAX_PIECE_CHARACTERS: Final = 8_000
"""Of what `on_text` is given at once, for it becomes an event; a longer piece comes in parts."""

_LOCAL_NAMES: Final = (".localhost", ".local", ".internal")
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_TIMED_OUT, _TOO_MANY, _NOT_FOUND = 408, 429, 404


class LiteLLMClient:
    """The ModelClient port on `litellm.acompletion`; make all calls of a process on one loop.

    Keys and addresses are LiteLLM's own variables (OPENAI_API_KEY, OPENAI_API_BASE, OLLAMA_API_BASE …).
    """

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        """Stream one answer, as `ModelClient.complete` says; `request.timeout_seconds` limits the whole call."""
        prices = self._prices(request.model)
        self._check_key(request.model)
        collected = _Collected(on_text)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await self._stream(request, collected)
        except RunFailed as failure:
            failure.spent = self._spent_on(request, collected, prices)
            raise
        except Exception as error:
            typed = failure_of(error, request)
            typed.spent = self._spent_on(request, collected, prices)
            raise typed from error
        return self._answer(request, collected, prices)

    def estimate(self, request: ModelRequest, text: str) -> ModelAnswer:
        """Tokens by the rule of thumb of four bytes each, and their cost; 0 where no price is known."""
        counts = _estimated(request, text)
        try:
            cost = self._prices(request.model).cost(counts)
        except RunFailed:
            cost = FREE.cost(counts)
        return ModelAnswer(
            text,
            prompt_tokens=counts.prompt,
            completion_tokens=counts.completion,
            token_source=TokenSource.ESTIMATE,
            cost=cost,
        )

    def provider_of(self, model: str) -> str:
        """Who serves the model, "unknown" when nobody does whom we ask."""
        return _provider(model) or "unknown"

    def supports_tools(self, model: str) -> bool:
        """Whether tools go to the model natively; a model that nobody knows is given the chance."""
        provider = _provider(model) or ""
        for name in (model, model.removeprefix(f"{provider}/")):
            if name in litellm.model_cost and provider not in LOCAL_PROVIDERS:
                return bool(litellm.model_cost[name].get("supports_function_calling"))
        return True

    async def close(self) -> None:
        """Close LiteLLM's connections, on the loop on which the calls were made, before it ends."""
        await close_litellm_async_clients()  # type: ignore[no-untyped-call] # LiteLLM left it so
        litellm.in_memory_llm_clients_cache.flush_cache()  # type: ignore[no-untyped-call] # same

    async def _stream(self, request: ModelRequest, collected: "_Collected") -> None:
        stream = await self._open(request)
        try:
            async for chunk in stream:
                collected.take(chunk)
                if collected.finish_reason and isinstance(stream.completion_stream, AsyncIterable):
                    await _drain(stream, collected)
                    break
            else:
                collected.take_usage(stream.chunks)
        finally:
            await stream.aclose()

    async def _open(self, request: ModelRequest) -> Any:
        parameters = _checked(request.parameters)
        try:
            return await litellm.acompletion(**self._arguments(request, parameters))
        except refusals.UnsupportedParamsError:
            # Raised before anything is sent. LiteLLM's own `drop_params` would send a second request on a 422.
            kept = {name: value for name, value in parameters.items() if name in _UNIVERSAL}
            return await litellm.acompletion(**self._arguments(request, kept))

    def _arguments(self, request: ModelRequest, parameters: Mapping[str, Any]) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            **parameters,
            "model": _qualified(request.model),
            "messages": [dict(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "timeout": request.timeout_seconds,
            "num_retries": 0,  # LiteLLM's retries and the SDK's would hide paid calls
            "max_retries": 0,
        }
        if request.tools:
            arguments["tools"] = [dict(tool) for tool in request.tools]
        return arguments

    def _check_key(self, model: str) -> None:
        """Without a key some providers' clients fail like a broken server: say it, and do not try again."""
        provider = _provider(model)
        if provider is None or provider in _KEYLESS or _is_local(provider):
            return
        found = litellm.validate_environment(_qualified(model))
        if not found["keys_in_environment"]:
            names = " or ".join(sorted(found["missing_keys"]))
            message = f"There is no key for {provider}: set {names} in the environment of the worker."
            raise RunFailed(FailureCode.MODEL_REFUSED, message)

    def _prices(self, model: str) -> Prices:
        provider = _provider(model)
        if provider is None:
            known = is_provider_allowed(model) or model.startswith(_REFERENCE)
            message = f"There is no model named {_named(model)}." if known else forbidden_provider(model)
            raise RunFailed(FailureCode.MODEL_UNKNOWN, message)
        if provider == SIMULATED:
            return FREE
        prices = find_prices(model, provider)
        if prices is None and _is_local(provider):
            return FREE
        if prices is None:
            raise RunFailed(FailureCode.MODEL_UNKNOWN, f"There is no price known for the model {_named(model)}.")
        return prices

    def _answer(self, request: ModelRequest, collected: "_Collected", prices: Prices) -> ModelAnswer:
        answer = self._collected_answer(request, collected, prices)
        if not answer.text.strip() and not answer.tool_requests:
            failure = _empty(request.model, collected.finish_reason)
            failure.spent = answer  # a model that only thought, or was stopped, is paid all the same
            raise failure
        return answer

    def _spent_on(self, request: ModelRequest, collected: "_Collected", prices: Prices) -> ModelAnswer | None:
        """What a call that broke off is billed with; None when the model had not begun."""
        if collected.counts is None and not collected.written:
            return None
        return self._collected_answer(request, collected, prices)

    def _collected_answer(self, request: ModelRequest, collected: "_Collected", prices: Prices) -> ModelAnswer:
        if collected.counts is None:
            counts, source = _estimated(request, collected.written), TokenSource.ESTIMATE
        else:
            counts, source = _plausible(collected.counts)
        return ModelAnswer(
            collected.text,
            collected.tool_requests,
            prompt_tokens=counts.prompt,
            completion_tokens=counts.completion,
            cached_tokens=counts.cached,
            reasoning_tokens=counts.reasoning,
            token_source=source,
            cost=prices.cost(counts),
        )


class _Collected:
    """The pieces of one streamed answer put together."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._length = 0
        self.finish_reason: str | None = None
        self.counts: TokenCounts | None = None

    def take(self, chunk: Any) -> None:
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if piece := choice.delta.content:
            self._count(piece)
            self._texts.append(piece)
            for start in range(0, len(piece), MAX_PIECE_CHARACTERS):
                self._on_text(piece[start : start + MAX_PIECE_CHARACTERS])
        if thought := getattr(choice.delta, "reasoning_content", None):
            self._count(thought)
            self._thoughts.append(thought)
        for position, call in enumerate(choice.delta.tool_calls or ()):
            self._take_tool(call, position)
        self.finish_reason = choice.finish_reason or self.finish_reason

    def take_usage(self, chunks: Any) -> None:
        """Keep the counts that the provider sent: cumulative or in parts, the highest of each is the sum."""
        for chunk in chunks:
            usage = chunk.get("usage") if isinstance(chunk, dict) else getattr(chunk, "usage", None)
            if usage:
                self.counts = _highest(self.counts, _counts(usage))

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def tool_requests(self) -> list[ToolRequest]:
        return [
            ToolRequest(tool["id"] or f"call_{index}", tool["name"], tool["arguments"] or "{}")
            for index, tool in sorted(self._tools.items())
            if tool["name"]
        ]

    @property
    def written(self) -> str:
        """All that the model wrote, what it only thought included."""
        tools = (tool["name"] + tool["arguments"] for tool in self._tools.values())
        return "".join([*self._thoughts, *self._texts, *tools])

    def _count(self, *pieces: str | None) -> None:
        self._length += sum(len(piece or "") for piece in pieces)
        if self._length > MAX_ANSWER_CHARACTERS:
            raise _invalid(f"The model gave an answer of more than {MAX_ANSWER_CHARACTERS:,} characters.")

    def _take_tool(self, call: Any, position: int) -> None:
        self._count(call.id, call.function.name, call.function.arguments)
        index = call.index if isinstance(call.index, int) else position
        tool = self._tools.setdefault(index, {"id": "", "name": "", "arguments": ""})
        tool["id"] = tool["id"] or call.id or ""
        tool["name"] = tool["name"] or call.function.name or ""
        tool["arguments"] += call.function.arguments or ""


async def _drain(stream: Any, collected: _Collected) -> None:
    # Read what is left of the provider's own stream: the counts come behind the last word. LiteLLM's wrapper would
    # count tokens itself where there are none, so that nobody knows whose they are, rebuild and price the answer
    # and log it: half the CPU of a call, for things that we do ourselves.
    collected.take_usage(stream.chunks)
    async for raw in stream.completion_stream:
        collected.take_usage((raw,))


def _counts(usage: Any) -> TokenCounts:
    prompt, completion = _field(usage, "prompt_tokens_details"), _field(usage, "completion_tokens_details")
    return TokenCounts(
        prompt=_number(usage, "prompt_tokens"),
        completion=_number(usage, "completion_tokens"),
        cached=_number(prompt, "cached_tokens") or _number(usage, "cache_read_input_tokens"),
        written=_number(usage, "cache_creation_input_tokens"),
        reasoning=_number(completion, "reasoning_tokens"),
    )


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _number(holder: Any, name: str) -> int:
    value = _field(holder, name)
    return value if isinstance(value, int) else 0


def _highest(one: TokenCounts | None, other: TokenCounts) -> TokenCounts:
    if one is None:
        return other
    return TokenCounts(
        max(one.prompt, other.prompt),
        max(one.completion, other.completion),
        max(one.cached, other.cached),
        max(one.written, other.written),
        max(one.reasoning, other.reasoning),
    )


def _plausible(counts: TokenCounts) -> tuple[TokenCounts, TokenSource]:
    """The counts within what a call can have, and whose they are then: nobody's, where the provider's are absurd."""
    clamped = TokenCounts(*(min(max(count, 0), MOST_TOKENS) for count in astuple(counts)))
    return clamped, TokenSource.PROVIDER if clamped == counts else TokenSource.ESTIMATE


def _estimated(request: ModelRequest, written: str) -> TokenCounts:
    asked = json.dumps([*request.messages, *(request.tools or ())], ensure_ascii=False, default=str)
    return TokenCounts(prompt=estimated_tokens(asked), completion=estimated_tokens(written))


def estimated_tokens(text: str) -> int:
    """About how many tokens the text has; 0 for an empty one."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def context_window(model: str) -> int | None:
    """How many tokens the model reads at most; None when it is not known."""
    for name in (model, model.partition("/")[2]):
        if isinstance(limit := litellm.model_cost.get(name, {}).get("max_input_tokens"), int):
            return limit
    return None


@lru_cache(maxsize=1024)
def _provider(model: str) -> str | None:
    # Not LiteLLM's `get_llm_provider`: for some providers it logs in, which waits for a person, on the loop.
    provider = prefix_of(model) or str(litellm.model_cost.get(model, {}).get("litellm_provider"))
    return provider if provider in PROVIDERS else None


def _qualified(model: str) -> str:
    """The name with its provider, so that LiteLLM has nothing to guess."""
    return model if prefix_of(model) else f"{_provider(model)}/{model}"


def _is_local(provider: str) -> bool:
    """Whether a model without a known price costs nothing, for it runs on a machine of ours."""
    if provider == "openai":  # the order is LiteLLM's
        return _is_local_address(os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or "")
    return provider in LOCAL_PROVIDERS


def _is_local_address(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # names that only a local network knows: one word, as between containers, or reserved for it
        return bool(host) and ("." not in host or host.endswith(_LOCAL_NAMES))
    return address.is_loopback or address.is_private


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in parameters.items():
        if name not in PARAMETERS or _REFERENCE in json.dumps(value, default=str):
            raise RunFailed(FailureCode.MODEL_REFUSED, f"The model parameter {_named(name)} is not allowed.")
    return {name: value for name, value in parameters.items() if value is not None}


def failure_of(error: BaseException, request: ModelRequest) -> RunFailed:
    """The typed failure that stands for an error of LiteLLM, its SDKs or the transport; without their texts."""
    model = _named(request.model)
    if isinstance(error, TimeoutError | refusals.Timeout):
        return _unavailable(f"The model {model} did not answer within {request.timeout_seconds:g} seconds.")
    if any(isinstance(cause, json.JSONDecodeError | UnicodeDecodeError) for cause in _chain(error)):
        return _invalid(f"The model {model} answered with something that cannot be read.")
    if request.tools and "support tools" in str(error):
        # These words make CrewAI go on with its text protocol for tools.
        return RunFailed(FailureCode.MODEL_REFUSED, f"The model {model} does not support tools.")
    for kind, code, reason in _REFUSALS:
        if isinstance(error, kind):
            return RunFailed(code, f"The model {model} {reason}.")
    return _failure_by_status(model, getattr(error, "status_code", None))


_REFUSALS: Final[tuple[tuple[type[Exception], FailureCode, str], ...]] = (
    (refusals.ContextWindowExceededError, FailureCode.MODEL_REFUSED, "refused a request longer than it can read"),
    (refusals.ContentPolicyViolationError, FailureCode.MODEL_REFUSED, "refused the request by its content policy"),
    (refusals.AuthenticationError, FailureCode.MODEL_REFUSED, "did not accept the credentials of this server"),
    (refusals.PermissionDeniedError, FailureCode.MODEL_REFUSED, "may not be used with the credentials of this server"),
    (refusals.NotFoundError, FailureCode.MODEL_UNKNOWN, "is not known to its provider"),
)


def _failure_by_status(model: str, status: Any) -> RunFailed:
    if status == _TOO_MANY:
        return _unavailable(f"The model {model} takes no more requests for now (HTTP 429).")
    if status == _NOT_FOUND:
        return RunFailed(FailureCode.MODEL_UNKNOWN, f"The model {model} is not known to its provider.")
    if isinstance(status, int) and _CLIENT_ERROR <= status < _SERVER_ERROR and status != _TIMED_OUT:
        return RunFailed(FailureCode.MODEL_REFUSED, f"The model {model} refused the request (HTTP {status}).")
    return _unavailable(f"The model {model} cannot be reached or failed to answer.")


def _unavailable(message: str) -> RunFailed:
    return RunFailed(FailureCode.MODEL_UNAVAILABLE, message, retryable=True)


def _invalid(message: str) -> RunFailed:
    return RunFailed(FailureCode.MODEL_ANSWER_INVALID, message, retryable=True)


def _empty(model: str, finish_reason: str | None) -> RunFailed:
    if finish_reason == "content_filter":
        return RunFailed(FailureCode.MODEL_REFUSED, f"The model {_named(model)} withheld its answer.")
    return _invalid(f"The model {_named(model)} gave an empty answer.")


def _named(model: str) -> str:
    """The name as a message shows it: short, and on one line."""
    return repr(model[:100])


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
