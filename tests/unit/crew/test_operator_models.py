"""What the operator's environment gives access to: keys by provider, local addresses, and what an Ollama offers."""

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
import structlog

from app.load import MachineLoad
from app.worker import Duties
from domain.crew.operator_models import KEY_VARIABLES, OperatorProbe, operator_models
from domain.model.availability import FREE_PROVIDERS, OperatorModels
from domain.model.model_names import PROVIDERS
from persistence.engine import Database
from persistence.workers import SqlWorkers
from tests.unit.crew.conftest import answering

VARIABLES = sorted({name for names in KEY_VARIABLES.values() for name in names})
LISTED_WRONGLY = {"cohere_chat"}  # by LiteLLM: as if it needed no key


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "OPENAI_BASE_URL", "OPENAI_API_BASE", "OLLAMA_API_BASE", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, who answers is not taken for silent."""
    monkeypatch.setattr("domain.crew.operator_models.ANSWER_SECONDS", 60.0)


class Ollama:
    """Answers every request with what it is told, and counts them."""

    def __init__(self, answer: bytes, status: int = 200, *, hangs: bool = False) -> None:
        self.answer = answer
        self.status = status
        self.hangs = hangs
        self.requests: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        if self.hangs:
            await reader.read()
        else:
            head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(self.answer)}\r\nlocation: /elsewhere\r\n\r\n"
            writer.write(head.encode() + self.answer)
        await writer.drain()

    def running(self) -> AbstractAsyncContextManager[str]:
        return answering(self.serve)


def tags(*names: str) -> bytes:
    return json.dumps({"models": [{"name": name} for name in names]}).encode()


# ---------------------------------------------------------------- keys


async def test_without_any_variable_nothing_can_be_reached() -> None:
    assert await operator_models() == OperatorModels()


@pytest.mark.parametrize("variable", VARIABLES)
async def test_a_key_gives_access_to_its_provider(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "sk-x")

    found = await operator_models()

    assert found.providers == {name for name, variables in KEY_VARIABLES.items() if variable in variables}
    assert found.providers
    assert found.free_providers == frozenset()


@pytest.mark.parametrize("variable", VARIABLES)
async def test_an_empty_variable_is_no_key(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "")

    assert await operator_models() == OperatorModels()


def test_every_provider_that_takes_a_key_has_its_variables() -> None:
    assert set(KEY_VARIABLES) == PROVIDERS - FREE_PROVIDERS


@pytest.mark.parametrize("provider", sorted(set(KEY_VARIABLES) - LISTED_WRONGLY))
def test_the_variables_that_litellm_names_are_among_ours(provider: str) -> None:
    missing = litellm.validate_environment(f"{provider}/some-model")["missing_keys"]

    assert missing
    assert set(missing) <= set(KEY_VARIABLES[provider])


# ---------------------------------------------------------------- openai on a local address


@pytest.mark.parametrize("variable", ["OPENAI_API_BASE", "OPENAI_BASE_URL"])
@pytest.mark.parametrize(
    ("address", "is_free"),
    [
        ("http://127.0.0.1:1234/v1", True),
        ("http://[::1]:1234/v1", True),
        ("http://192.168.0.7/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://models.internal/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://93.184.216.34/v1", False),
        ("http://[nonsense", False),
    ],
)
async def test_openai_on_a_local_address_needs_no_key_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str, *, is_free: bool
) -> None:
    monkeypatch.setenv(variable, address)

    found = await operator_models()

    expected = frozenset({"openai"} if is_free else ())
    assert (found.providers, found.free_providers) == (expected, expected)


async def test_the_address_that_litellm_takes_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")

    found = await operator_models()

    assert (found.providers, found.free_providers) == (frozenset({"openai"}), frozenset())


# ---------------------------------------------------------------- ollama


async def test_the_models_of_an_ollama_have_both_names_of_the_provider_with_and_without_the_latest_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Ollama(tags("llama3.2:latest", "qwen3:8b", "mistral"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # it is on this machine
    async with server.running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", f"{base}/")
        found = await operator_models()

    plain = {"llama3.2", "llama3.2:latest", "qwen3:8b", "mistral", "mistral:latest"}
    assert found.models == {f"{prefix}/{name}" for prefix in ("ollama", "ollama_chat") for name in plain}
    assert (found.providers, found.is_local_silent) == (frozenset(), False)
    [request] = server.requests
    assert request.startswith("GET /api/tags HTTP/1.1\r\n")
    assert "authorization" not in request.lower()


async def test_an_ollama_with_a_key_is_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Ollama(tags("llama3.2"))
    async with server.running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)
        monkeypatch.setenv("OLLAMA_API_KEY", "ok-secret")
        await operator_models()

    assert "authorization: bearer ok-secret" in server.requests[0].lower()


async def test_an_ollama_without_models_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Ollama(tags()).running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)

        assert await operator_models() == OperatorModels()


@pytest.mark.parametrize(
    "server",
    [
        Ollama(b"no JSON"),
        Ollama(b"[]"),
        Ollama(b'{"models": 5}'),
        Ollama(b'{"models": ["a"]}'),
        Ollama(b"[" * 100_000),
        Ollama(tags("a"), 500),
        Ollama(tags("a"), 302),
        Ollama(b'{"models": [], "x": "' + b"x" * 1_000_001 + b'"}'),
    ],
    ids=["text", "list", "number", "names", "deep", "500", "redirect", "large"],
)
async def test_an_ollama_that_answers_wrongly_counts_as_silent(monkeypatch: pytest.MonkeyPatch, server: Ollama) -> None:
    async with server.running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)

        assert await operator_models() == OperatorModels(is_local_silent=True)

    assert len(server.requests) == 1


async def test_odd_names_of_an_ollama_are_left_out_and_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Any] = [{"name": 5}, {"name": "bell\u0007"}, *({"name": f"m:{n}"} for n in range(1_000))]
    async with Ollama(json.dumps({"models": listed}).encode()).running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)
        found = await operator_models()

    assert found.models == {f"{prefix}/m:{n}" for prefix in ("ollama", "ollama_chat") for n in range(198)}


async def test_an_ollama_that_is_away_or_hangs_is_silent_soon(
    monkeypatch: pytest.MonkeyPatch, pass_time: Callable[[float], None]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        for base in (f"http://127.0.0.1:{closed.getsockname()[1]}", "nonsense", "http://[nonsense", "ftp://x"):
            monkeypatch.setenv("OLLAMA_API_BASE", base)
            assert await operator_models() == OperatorModels(is_local_silent=True), base
    hanging = Ollama(b"", hangs=True)
    async with hanging.running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)
        asking = asyncio.create_task(operator_models())
        while not hanging.requests:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.001)
        pass_time(60)
        assert (await asking).is_local_silent


# ---------------------------------------------------------------- the probe and the heartbeat


async def test_the_probe_asks_once_for_all_who_want_to_know_at_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Ollama(tags("llama3.2"))
    async with server.running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)
        probe, eager = OperatorProbe(), OperatorProbe(seconds=0)
        found = [*await asyncio.gather(*(probe.models() for _ in range(10))), await probe.models()]
        asked = len(server.requests)
        await eager.models()
        server.answer = tags("qwen3")
        changed = await eager.models()

    assert asked == 1
    assert len(set(map(id, found))) == 1
    assert "ollama/llama3.2" in found[0].models
    assert "ollama/qwen3" in changed.models
    assert "ollama/llama3.2" not in changed.models


async def test_a_heartbeat_publishes_what_the_worker_can_reach(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatcher = SimpleNamespace(rules=SimpleNamespace(places=1), is_taking=True)
    probe, load = OperatorProbe(seconds=0), MachineLoad(80, 75)
    parts: list[Any] = [None, SqlWorkers(database.pool), None, None, dispatcher, probe, load, 12.0]
    duties = Duties("w1", *parts)  # a heartbeat needs no more
    monkeypatch.setenv("MISTRAL_API_KEY", "sk-x")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1/v1")

    async def published() -> tuple[Any, ...]:
        row = await database.pool.fetchrow(
            "SELECT providers, models, free_providers, is_local_silent FROM worker WHERE id = 'w1'"
        )
        assert row
        return tuple(row)

    await duties.beat()
    first = await published()
    async with Ollama(tags("phi4:14b")).running() as base:
        monkeypatch.setenv("OLLAMA_API_BASE", base)
        await duties.beat()
    second = await published()
    monkeypatch.setenv("OLLAMA_API_BASE", "nonsense")
    await duties.beat()

    assert first == (["mistral", "openai"], [], ["openai"], False)
    assert second == (["mistral", "openai"], ["ollama/phi4:14b", "ollama_chat/phi4:14b"], ["openai"], False)
    assert await published() == (["mistral", "openai"], [], ["openai"], True)


async def test_a_local_server_that_falls_silent_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = OperatorProbe(seconds=0)
    with structlog.testing.capture_logs() as logs:
        await probe.models()
        async with Ollama(b'{"models": []}').running() as url:
            monkeypatch.setenv("OLLAMA_API_BASE", url)
            await probe.models()
        for _ in range(3):
            assert (await probe.models()).is_local_silent

    assert [entry["event"] for entry in logs] == ["ollama_silent"]
