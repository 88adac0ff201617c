"""Reaches models through LiteLLM: one streamed HTTP request per call, its tokens, its exact cost, its typed failure.

Servers of tenants are reached by OpenAI's SDK alone: LiteLLM takes an address and a name for more than they say
(another provider, with the environment's key; another protocol, with a client of its own), and both a tenant writes.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import litellm
from litellm import exceptions as refusals
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients
from litellm.utils import get_optional_params

from domain.crew.answers import Collected, plausible
from domain.crew.failures import failure_of, invalid, named, refused
from domain.crew.openai_clients import TRANSPORT_SECONDS, OpenAIClients
from domain.crew.operator_models import KEY_VARIABLES, is_local_address
from domain.crew.outputs import bare
from domain.crew.prices import find_entry, find_prices
from domain.crew.tools.addresses import AddressGuard
from domain.errors import FailureCode, RunFailed
from domain.model.availability import LOCAL_PROVIDERS
from domain.model.ledger import TokenSource
from domain.model.model import BASE_URL_PROVIDER
from domain.model.model_names import PROVIDERS, SIMULATED, forbidden_provider, is_provider_allowed, prefix_of
from domain.model.output_schema import problem_of
from domain.model.prices import FREE, Prices, TokenCounts
from domain.model.role import MODEL_PARAMETERS
from domain.model.tokens import estimated_request_tokens, estimated_tokens, most_request_tokens
from domain.ports import ModelAnswer, ModelRequest

PARAMETERS: Final = MODEL_PARAMETERS | {"temperature", "max_tokens", "response_format"}
_UNIVERSAL: Final = frozenset({"max_tokens", "response_format"})

_REFERENCE: Final = "os.environ/"
"""What LiteLLM would replace by a variable of our environment, which may be a secret."""

_CHECK_SECONDS: Final = 10.0
"""How long an answer may be checked against its schema."""


class LiteLLMClient:
    """The ModelClient port on `litellm.acompletion`; make all calls of a process on one loop.

    A request's deployment says whose key is used and at which address; without either, keys and addresses are those
    of LiteLLM's own variables (OPENAI_API_KEY, OPENAI_API_BASE, OLLAMA_API_BASE …). The guard decides which addresses
    of tenants may be opened; without one, only those of the public internet.
    """

    def __init__(self, guard: AddressGuard | None = None) -> None:
        self._clients = OpenAIClients(guard or AddressGuard())

    async def complete(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        """Stream one answer, as `ModelClient.complete` says; `request.timeout_seconds` limits the whole call."""
        prices = _prices(request)
        _check_access(request)
        collected = Collected(on_text)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await self._stream(request, collected)
        except RunFailed as failure:
            failure.spent = _spent_on(request, collected, prices)
            raise
        except Exception as error:
            typed = failure_of(error, request)
            typed.spent = _spent_on(request, collected, prices)
            raise typed from error
        return await _held(request, _answer(request, collected, prices))

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

    def provider_of(self, model: str) -> str:
        """Who serves the model, "unknown" when nobody does whom we ask."""
        return _provider(model) or "unknown"

    async def close(self) -> None:
        """Close all connections, on the loop on which the calls were made, before it ends."""
        await self._clients.close()
        await close_litellm_async_clients()  # type: ignore[no-untyped-call] # LiteLLM left it so
        litellm.in_memory_llm_clients_cache.flush_cache()  # type: ignore[no-untyped-call] # same

    async def _stream(self, request: ModelRequest, collected: Collected) -> None:
        deployment = request.deployment
        if deployment and deployment.base_url:
            async with self._clients.lent(deployment.base_url, deployment.api_key) as client:
                await _stream_from_own_server(client, request, collected)
        elif deployment and deployment.api_key and _provider(request.model) == BASE_URL_PROVIDER:
            # With a client of its own LiteLLM would send the operator's organization along.
            async with self._clients.lent(None, deployment.api_key) as client:
                await _stream_through_litellm(request, collected, client=client, api_key=deployment.api_key)
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
        else:
            collected.take_usage(stream.chunks)
    finally:
        await stream.aclose()


async def _opened(request: ModelRequest, access: Mapping[str, Any]) -> Any:
    parameters = _parameters(request)
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


async def _drain(stream: Any, collected: Collected) -> None:
    # Read what is left of the provider's own stream: the counts come behind the last word. LiteLLM's wrapper would
    # count tokens itself where there are none, so that nobody knows whose they are, rebuild and price the answer
    # and log it: half the CPU of a call, for things that we do ourselves.
    collected.take_usage(stream.chunks)
    async for raw in stream.completion_stream:
        collected.take_usage((raw,))


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
    answer = _collected_answer(request, collected, prices)
    if not answer.text.strip() and not answer.tool_requests:
        failure = _empty(request.model, collected.finish_reason)
        failure.spent = answer  # a model that only thought, or was stopped, is paid all the same
        raise failure
    return answer


async def _held(request: ModelRequest, answer: ModelAnswer) -> ModelAnswer:
    """The answer, if its text holds the schema that is asked for; a wish for tools need not."""
    if request.output_schema is None or answer.tool_requests:
        return answer
    answer.text = bare(answer.text)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            # In a thread: a long answer, or a schema that refers to itself many times, takes its time.
            problem = await asyncio.to_thread(problem_of, answer.text, dict(request.output_schema))
    except TimeoutError:
        problem = "It could not be checked in time."
    if problem is None:
        return answer
    failure = invalid(f"The answer of the model {named(request.model)} does not hold the schema. {problem}")
    failure.spent = answer
    raise failure


def _spent_on(request: ModelRequest, collected: Collected, prices: Prices) -> ModelAnswer | None:
    """What a call that broke off is billed with; None when the model had not begun."""
    if collected.counts is None and not collected.written:
        return None
    return _collected_answer(request, collected, prices)


def _collected_answer(request: ModelRequest, collected: Collected, prices: Prices) -> ModelAnswer:
    if collected.counts is None or not collected.is_counted:
        counts, source = _estimated(request, collected.written), TokenSource.ESTIMATE
    else:
        counts, source = plausible(collected.counts)
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
    return provider if provider in PROVIDERS else None


def _qualified(model: str) -> str:
    """The name with its provider, so that LiteLLM has nothing to guess."""
    return model if prefix_of(model) else f"{_provider(model)}/{model}"


def _is_local(provider: str) -> bool:
    """Whether a model without a known price costs nothing, for it runs on a machine of ours."""
    if provider == "openai":  # the order is LiteLLM's
        return is_local_address(os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or "")
    return provider in LOCAL_PROVIDERS
