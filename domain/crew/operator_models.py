"""Which models the operator's environment gives access to: whose keys are set, and what a local Ollama offers.

Nothing of LiteLLM is imported here: the names of its variables stand in a table, for its own check knows some wrongly
(`cohere_chat`, second names) and counts an empty variable as a key.
"""

import asyncio
import ipaddress
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson
import structlog

from domain.model.availability import OperatorModels
from domain.model.model_names import is_model_name

KEY_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "together_ai": ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
    "xai": ("XAI_API_KEY",),
}
"""The variables in which LiteLLM looks for a provider's key, any of them."""

PROBE_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 2.0
MAX_ANSWER_BYTES: Final = 1_000_000
MAX_LOCAL_MODELS: Final = 200
_LOCAL_NAMES: Final = (".localhost", ".local", ".internal")
_LATEST: Final = ":latest"

_log = structlog.get_logger(__name__)


class OperatorProbe:
    """Knows what the environment of this process gives access to; asks the local server at most every 15 seconds."""

    def __init__(self, seconds: float = PROBE_SECONDS) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._known = OperatorModels()
        self._fresh_until = float("-inf")

    async def models(self) -> OperatorModels:
        """What can be reached, at most so many seconds old; takes two seconds at the longest, and never raises."""
        async with self._lock:
            if time.monotonic() >= self._fresh_until:
                found = await operator_models()
                if found.is_local_silent and not self._known.is_local_silent:  # once, not at every look
                    _log.warning("ollama_silent", hint="The server at OLLAMA_API_BASE does not answer.")
                self._known = found
                self._fresh_until = time.monotonic() + self._seconds
            return self._known


async def operator_models(environment: Mapping[str, str] = os.environ) -> OperatorModels:
    """What these variables give access to now; asks the server at OLLAMA_API_BASE, if there is that variable."""
    providers = {name for name, variables in KEY_VARIABLES.items() if any(map(environment.get, variables))}
    base = environment.get("OPENAI_BASE_URL") or environment.get("OPENAI_API_BASE") or ""  # the order is LiteLLM's
    free = {"openai"} if is_local_address(base) else set()
    ollama = environment.get("OLLAMA_API_BASE")
    names = await _offered(ollama, environment.get("OLLAMA_API_KEY")) if ollama else frozenset()
    return OperatorModels(
        providers=frozenset(providers | free),
        models=names or frozenset(),
        free_providers=frozenset(free),
        is_local_silent=names is None,
    )


def is_local_address(url: str) -> bool:
    """Whether the URL leads to this machine or a private network, as far as its text tells."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # names that only a local network knows: one word, as between containers, or reserved for it
        return bool(host) and ("." not in host or host.endswith(_LOCAL_NAMES))
    return address.is_loopback or address.is_private


async def _offered(base: str, key: str | None) -> frozenset[str] | None:
    """The names of an Ollama server's models as LiteLLM calls them; None when it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = orjson.loads(await _tags(base, key))
        return frozenset(_names(model["name"] for model in answer["models"][:MAX_LOCAL_MODELS]))
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError, KeyError):
        return None


async def _tags(base: str, key: str | None) -> bytes:
    """Raises ValueError for an answer that is none."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = bytearray()
    async with (
        httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, headers=headers) as client,
        client.stream("GET", f"{base.rstrip('/')}/api/tags") as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(response.status_code)
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError(len(body))
    return bytes(body)


def _names(found: Iterable[Any]) -> Iterator[str]:
    """Each under both of LiteLLM's names for the provider, and with and without the tag that is meant without one."""
    for name in found:
        if not isinstance(name, str):
            continue
        plain = name.removesuffix(_LATEST)
        for variant in {name, plain, plain if ":" in plain else plain + _LATEST}:
            yield from filter(is_model_name, (f"ollama/{variant}", f"ollama_chat/{variant}"))
