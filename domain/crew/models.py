"""Reaches models through LiteLLM: one streamed HTTP request per call, its tokens, its exact cost, its typed failure.

Servers of tenants are reached by OpenAI's SDK alone: LiteLLM takes an address and a name for more than they say
(another provider, with the environment's key; another protocol, with a client of its own), and both a tenant writes.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import litellm
from litellm import exceptions as refusals
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients
from litellm.utils import get_optional_params

from domain.crew.answers import Collected, plausible
from domain.crew.failures import failure_of, invalid, may_be_billed, named, refused, timed_out
from domain.crew.openai_clients import OPERATORS_ADDRESSES, TRANSPORT_SECONDS, OpenAIClients
from domain.crew.operator_models import KEY_VARIABLES, is_local_address
from domain.crew.outputs import bare
from domain.crew.prices import find_entry, find_prices
from domain.crew.tools.addresses import AddressGuard
from domain.errors import FailureCode, RunFailed
from domain.model.availability import LOCAL_PROVIDERS
from domain.model.ledger import TokenSource
from domain.model.model import BASE_URL_PROVIDER
from domain.model.model_names import (
    PROVIDERS,
    SIMULATED,
    forbidden_provider,
    is_model_name,
    is_provider_allowed,
    prefix_of,
)
from domain.model.output_schema import problem_of
from domain.model.prices import FREE, Prices, TokenCounts
from domain.model.role import MODEL_PARAMETERS
from domain.model.tokens import estimated_request_tokens, estimated_tokens, most_request_tokens
from domain.ports import ModelAnswer, ModelRequest

PARAMETERS: Final = MODEL_PARAMETERS | {"temperature", "max_tokens", "response_format"}
_UNIVERSAL: Final = frozenset({"max_tokens", "response_format"})

_REFERENCE: Final = "os.environ/"
"""What LiteLLM would replace by a variable of our environment, which may be a secret."""

IDLE_SECONDS: Final = 60.0
"""How long a model that has begun to write may pause."""

_CHECK_SECONDS: Final = 60.0
"""How long an answer may wait to be checked against its schema; the check itself takes about a second at most."""

_checks: Final = ThreadPoolExecutor(2, thread_name_prefix="regatta-check")
"""Of its own: whatever strangers' schemas take, the names of hosts are looked up in the other one."""

_MISLEADING: Final = ("ft:gpt-3.5-turbo", "ft:babbage-002", "ft:davinci-002", "replicate", "clarifai")
"""Wherever they stand in a name, LiteLLM sends the call, and the key, to another provider than the name begins with."""


class LiteLLMClient:
    """The ModelClient port on `litellm.acompletion`; make all calls of a process on one loop.

    A request's deployment says whose key is used and at which address; without either, keys and addresses are those
    of LiteLLM's own variables (OPENAI_API_KEY, OPENAI_API_BASE, OLLAMA_API_BASE …). The guard decides which addresses
    of tenants may be opened; without one, only those of the public internet. A model that has begun to write and then
    says nothing for `idle_seconds` is left.
    """

    def __init__(self, guard: AddressGuard | None = None, idle_seconds: float = IDLE_SECONDS) -> None:
        self._clients = OpenAIClients(guard or AddressGuard())
        self._idle_seconds = idle_seconds

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        """Stream one answer, as `ModelClient.complete` says; `request.timeout_seconds` limits the whole call."""
        prices = _prices(request)
        _check_access(request)
        collected = Collected(on_text)
        try:
            await self._collect(request, collected)
            return await _held(request, _answer(request, collected, prices))
        except asyncio.CancelledError as cancelled:
            cancelled.spent = _broken_off(request, collected, prices)  # type: ignore[attr-defined] # as the port says
            raise
        except RunFailed as failure:
            if failure.spent is None and _may_be_billed(failure, collected):
                failure.spent = _broken_off(request, collected, prices)
            raise

    def estimate(self, request: ModelRequest, text: str) -> ModelAnswer:
        """Tokens by the rule of thumb of four bytes each, and their cost; 0 where no price is known."""
        counts = _estimated(request, text)
        try:
            cost = _prices(request).cost(counts)
        except RunFailed:
            cost = FREE.cost(counts)
        return ModelAnswer(
            text,
            prompt_tokens=counts.prompt,
            completion_tokens=counts.completion,
            token_source=TokenSource.ESTIMATE,
            cost=cost,
        )

    def most_prompt_tokens(self, request: ModelRequest) -> int:
        """A bound by the bytes of the request (`domain.model.tokens`): no tokenizer, no model hub."""
        return most_request_tokens(request.messages, request.tools or (), request.output_schema)

    async def close(self) -> None:
        """Close all connections, on the loop on which the calls were made, before it ends."""
        await self._clients.close()
        await close_litellm_async_clients()  # type: ignore[no-untyped-call] # LiteLLM left it so
        litellm.in_memory_llm_clients_cache.flush_cache()  # type: ignore[no-untyped-call] # same

    async def _collect(self, request: ModelRequest, collected: Collected) -> None:
        """Raises RunFailed, from what went wrong."""
        loop = asyncio.get_running_loop()
        idle = asyncio.timeout(None)

        def heard() -> None:
            if collected.has_begun:  # before that it may think, for as long as the call may take
                idle.reschedule(loop.time() + self._idle_seconds)

        collected.on_chunk = heard
        try:
            async with asyncio.timeout(request.timeout_seconds), idle:
                await self._stream(request, collected)
        except RunFailed:
            raise
        except Exception as error:
            raise (self._silence(request) if idle.expired() else failure_of(error, request)) from error

    def _silence(self, request: ModelRequest) -> RunFailed:
        model = named(request.model)
        return timed_out(f"The model {model} stopped in the middle of its answer, for {self._idle_seconds:g} seconds.")

    async def _stream(self, request: ModelRequest, collected: Collected) -> None:
        deployment = request.deployment
        if deployment and deployment.base_url:
            async with self._clients.lent(deployment.base_url, deployment.api_key) as client:
                await _stream_from_own_server(client, request, collected)
        elif (provider := _provider(request.model)) and (key := _key_for_sdk(provider, request)):
            # With a client of its own LiteLLM would send the operator's organization along.
            async with self._clients.lent(None, key, provider) as client:
                await _stream_through_litellm(request, collected, client=client, api_key=key)
        elif deployment and deployment.api_key:
            await _stream_through_litellm(request, collected, api_key=deployment.api_key)
        else:
            await _stream_through_litellm(request, collected)


# Through LiteLLM


async def _stream_through_litellm(request: ModelRequest, collected: Collected, **access: Any) -> None:
    stream = await _opened(request, access)
    try:
        async for chunk in stream:
            collected.take(chunk)
            if collected.finish_reason and isinstance(stream.completion_stream, AsyncIterable):
                await _drain(stream, collected)
                break
    finally:
        collected.take_usage(stream.chunks)
        await stream.aclose()


async def _opened(request: ModelRequest, access: Mapping[str, Any]) -> Any:
    parameters = _parameters(request)
    _make_known(request.model)
    try:
        return await litellm.acompletion(**_arguments(request, parameters, access))
    except refusals.UnsupportedParamsError:
        # Raised before anything is sent. LiteLLM's own `drop_params` would send a second request on a 422.
        return await litellm.acompletion(**_arguments(request, _universal(parameters), access))


def _arguments(request: ModelRequest, parameters: Mapping[str, Any], access: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **parameters,
        **access,
        **_conversation(request),
        "model": _qualified(request.model),
        "timeout": TRANSPORT_SECONDS,
        "num_retries": 0,  # LiteLLM's retries and the SDK's would hide paid calls
        "max_retries": 0,
    }


def _key_for_sdk(provider: str, request: ModelRequest) -> str | None:
    """The key for a client of ours; None where LiteLLM needs none, as for the operator's own key of OpenAI."""
    if provider not in OPERATORS_ADDRESSES:
        return None
    key = request.deployment.api_key if request.deployment else None
    if key or provider == BASE_URL_PROVIDER:
        return key
    return next(filter(None, map(os.environ.get, KEY_VARIABLES[provider])), None)


def _make_known(model: str) -> None:
    """Of what its map does not know LiteLLM asks Ollama, once or twice per call, in time that nobody limits."""
    if _provider(model) not in LOCAL_PROVIDERS or model in litellm.model_cost:
        return
    # Only models that can take tools are given any.
    entry = {"litellm_provider": prefix_of(model), "mode": "chat", "supports_function_calling": True}
    # First by hand, for what it does not find there yet it asks the server for even while it is registered.
    litellm.model_cost[model] = {**entry, **dict.fromkeys(_COSTS, 0.0)}
    litellm.register_model({model: litellm.model_cost[model]})


_COSTS: Final = (
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
)


async def _drain(stream: Any, collected: Collected) -> None:
    # Read what is left of the provider's own stream: the counts come behind the last word. LiteLLM's wrapper would
    # count tokens itself where there are none, so that nobody knows whose they are, rebuild and price the answer
    # and log it: half the CPU of a call, for things that we do ourselves.
    async for raw in stream.completion_stream:
        collected.take_usage((raw,))
        collected.on_chunk()


# From a tenant's own server


async def _stream_from_own_server(client: Any, request: ModelRequest, collected: Collected) -> None:
    name = request.model.removeprefix(f"{BASE_URL_PROVIDER}/")
    # As a body, for the SDK's own arguments are those of OpenAI's present protocol.
    body = {**_mapped(name, _parameters(request)), **_conversation(request)}
    stream = await client.chat.completions.create(model=name, messages=[], stream=True, extra_body=body)
    try:
        async for chunk in stream:
            collected.take(chunk)
            collected.take_usage((chunk,))
    finally:
        await stream.close()


def _mapped(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters under the names that OpenAI's model of this name takes."""
    try:
        mapped = get_optional_params(model=name, custom_llm_provider=BASE_URL_PROVIDER, **parameters)
    except refusals.UnsupportedParamsError:
        mapped = get_optional_params(model=name, custom_llm_provider=BASE_URL_PROVIDER, **_universal(parameters))
    return {key: value for key, value in mapped.items() if key not in {"stream", "extra_body"}}


# What is sent


def _conversation(request: ModelRequest) -> dict[str, Any]:
    conversation: dict[str, Any] = {
        "messages": [dict(message) for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        conversation["tools"] = [dict(tool) for tool in request.tools]
    return conversation


def _parameters(request: ModelRequest) -> dict[str, Any]:
    for name, value in request.parameters.items():
        if name not in PARAMETERS or _REFERENCE in json.dumps(value, default=str):
            raise refused(f"The model parameter {named(name)} is not allowed.")
    parameters = {name: value for name, value in request.parameters.items() if value is not None}
    if request.output_schema is not None and _takes_schema(request):
        form = {"name": "output", "schema": dict(request.output_schema), "strict": False}
        parameters["response_format"] = {"type": "json_schema", "json_schema": form}
    return parameters


def _universal(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name in _UNIVERSAL}


def _takes_schema(request: ModelRequest) -> bool:
    if _provider(request.model) == SIMULATED:
        return True
    if request.deployment and request.deployment.supports_json is not None:
        return request.deployment.supports_json
    entry = find_entry(request.model, _provider(request.model) or "")
    return bool(entry and entry.get("supports_response_schema"))


# Who may be asked, and at what price


def _check_access(request: ModelRequest) -> None:
    """Refuse what leads to a secret of ours, or to another server than is meant."""
    deployment = request.deployment
    key, address = (deployment.api_key, deployment.base_url) if deployment else (None, None)
    if key is not None and (not key.strip() or _REFERENCE in key):
        raise refused("The key of this model is none; set it again.")
    if address is not None and (not address.strip() or _REFERENCE in address):
        raise refused("The address of this model is none; set it again.")
    if address and _provider(request.model) != BASE_URL_PROVIDER:
        raise refused(f"Only models of the provider {BASE_URL_PROVIDER} have an address of their own.")
    if not (key or address):
        _check_environment(request.model)


def _check_environment(model: str) -> None:
    """Without a key some providers' clients fail like a broken server: say it, and do not try again."""
    provider = _provider(model)
    variables = KEY_VARIABLES.get(provider or "", ())
    if provider is None or not variables or _is_local(provider) or any(map(os.environ.get, variables)):
        return
    raise refused(f"There is no key for {provider}: set {' or '.join(variables)} in the environment of the worker.")


def _prices(request: ModelRequest) -> Prices:
    model, provider = request.model, _provider(request.model)
    if provider is None:
        known = is_provider_allowed(model) or model.startswith(_REFERENCE)
        message = f"There is no model named {named(model)}." if known else forbidden_provider(model)
        raise RunFailed(FailureCode.MODEL_UNKNOWN, message)
    if request.deployment is not None:
        return request.deployment.prices
    prices = FREE if provider == SIMULATED else find_prices(model, provider)
    if prices is None and _is_local(provider):
        return FREE
    if prices is None:
        raise RunFailed(FailureCode.MODEL_UNKNOWN, f"There is no price known for the model {named(model)}.")
    return prices


# What came back


def _answer(request: ModelRequest, collected: Collected, prices: Prices) -> ModelAnswer:
    answer = _answer_of(collected, *_counted(request, collected), prices)
    if not answer.text.strip() and not answer.tool_requests:
        failure = _empty(request.model, collected.finish_reason)
        failure.spent = answer  # a model that only thought, or was stopped, is paid all the same
        raise failure
    return answer


async def _held(request: ModelRequest, answer: ModelAnswer) -> ModelAnswer:
    """The answer, if its text holds the schema that is asked for; a wish for tools need not."""
    if request.output_schema is None or answer.tool_requests or not request.is_checked:
        return answer
    answer.text = bare(answer.text)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            check = asyncio.get_running_loop().run_in_executor
            problem = await check(_checks, problem_of, answer.text, dict(request.output_schema))
    except TimeoutError:
        problem = "It could not be checked in time."
    except Exception:  # noqa: BLE001 - the answer is paid all the same
        problem = "It could not be checked."
    if problem is None:
        return answer
    failure = invalid(f"The answer of the model {named(request.model)} does not hold the schema. {problem}")
    failure.spent = answer
    raise failure


def _may_be_billed(failure: RunFailed, collected: Collected) -> bool:
    has_come = collected.counts is not None or collected.has_begun
    return has_come or (failure.__cause__ is not None and may_be_billed(failure.__cause__))


def _broken_off(request: ModelRequest, collected: Collected, prices: Prices) -> ModelAnswer:
    """What a call that broke off is billed with: the prompt at least."""
    counts, source = _counted(request, collected)
    written = estimated_tokens(collected.written)
    if collected.finish_reason is None and written > counts.completion:
        # Counts that come before the last word are those of the first.
        counts, source = replace(counts, completion=written), TokenSource.ESTIMATE
    return _answer_of(collected, counts, source, prices)


def _counted(request: ModelRequest, collected: Collected) -> tuple[TokenCounts, TokenSource]:
    if collected.counts is None or not collected.is_counted:
        return _estimated(request, collected.written), TokenSource.ESTIMATE
    return plausible(collected.counts)


def _answer_of(collected: Collected, counts: TokenCounts, source: TokenSource, prices: Prices) -> ModelAnswer:
    return ModelAnswer(
        collected.text,
        collected.tool_requests,
        prompt_tokens=counts.prompt,
        completion_tokens=counts.completion,
        cached_tokens=counts.cached,
        reasoning_tokens=counts.reasoning,
        token_source=source,
        cost=prices.cost(counts),
        model=collected.model,
    )


def _estimated(request: ModelRequest, written: str) -> TokenCounts:
    asked = estimated_request_tokens(request.messages, request.tools or ())
    return TokenCounts(prompt=asked, completion=estimated_tokens(written))


def _empty(model: str, finish_reason: str | None) -> RunFailed:
    if finish_reason == "content_filter":
        return refused(f"The model {named(model)} withheld its answer.")
    return invalid(f"The model {named(model)} gave an empty answer.")


# Names and addresses


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
    is_lost = provider != BASE_URL_PROVIDER and any(words in model for words in _MISLEADING)
    return provider if provider in PROVIDERS and is_model_name(model) and not is_lost else None


def _qualified(model: str) -> str:
    """The name with its provider, so that LiteLLM has nothing to guess."""
    return model if prefix_of(model) else f"{_provider(model)}/{model}"


def _is_local(provider: str) -> bool:
    """Whether a model without a known price costs nothing, for it runs on a machine of ours."""
    if provider == "openai":  # the order is LiteLLM's
        return is_local_address(os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or "")
    return provider in LOCAL_PROVIDERS
