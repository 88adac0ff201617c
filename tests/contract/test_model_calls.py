"""Every HTTP request that leaves for a model stands on the ledger: LiteLLM, the gateway and PostgreSQL, all real."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest

import tests.support.crew_environment  # noqa: F401 - before litellm
from domain.crew.models import LiteLLMClient
from domain.errors import FailureCode, RunFailed
from domain.model.ledger import LedgerEntry
from domain.model.model import Tier
from domain.model.routing import Route
from domain.ports import ModelAnswer, ModelRequest, TaskWork
from domain.services.model_gateway import GatewayRules, RoutedGateway
from domain.services.recorder import EventRecorder, RecorderSink
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.mapping import builder_of, names_of
from tests.support.fakes import FakeHints, a_team_with_tasks
from tests.support.model_server import (
    Answer,
    Garbage,
    HangUp,
    ModelServer,
    Silence,
    Status,
    Text,
    Usage,
)
from tests.support.routes import a_model, a_route
from tests.support.worlds import SqlWorld

RULES = GatewayRules(attempts=2, first_pause=0.001, longest_pause=0.002, patience=1.0, brief=0.05, cool=60.0)
REQUEST = ModelRequest("", [{"role": "user", "content": "Hi"}], None, {"max_tokens": 100}, 30.0)
HASTY = replace(REQUEST, timeout_seconds=1.5)  # long enough to reach the server
FIRST, SECOND, THIRD = (
    a_model("openai/gpt-4o-mini"),
    a_model("openai/gpt-4.1-mini", prompt_price=Decimal("0.4"), completion_price=Decimal("1.6")),
    a_model("openai/gpt-4.1", tier=Tier.PREMIUM, prompt_price=Decimal(2), completion_price=Decimal(8)),
)
GOOD = Text("Good.", usage=Usage(10, 5))


@dataclass
class Stage:
    """A claimed execution whose one task calls models."""

    server: ModelServer
    database: Database
    gateway: RoutedGateway
    recorder: EventRecorder
    sink: RecorderSink
    work: TaskWork

    async def call(self, route: Route | None = None, request: ModelRequest = REQUEST) -> ModelAnswer:
        self.work.route = route or self.work.route
        return await self.gateway.call(self.work, request, self.sink)

    async def ledger(self) -> Sequence[LedgerEntry]:
        await self.recorder.flush(30)
        names = ", ".join(names_of(LedgerEntry))
        rows = await self.database.pool.fetch(f"SELECT {names} FROM ledger_entry ORDER BY id")  # noqa: S608 - our columns
        return [builder_of(LedgerEntry)(row) for row in rows]

    async def accounts(self) -> list[tuple[Decimal, Decimal]]:
        rows = await self.database.pool.fetch("SELECT spent, reserved FROM budget_account ORDER BY scope")
        return [(row[0], row[1]) for row in rows]


@pytest.fixture
async def stage(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    world = SqlWorld(database)
    execution, tasks, snapshot = a_team_with_tasks("calling")
    await world.add(execution, tasks, snapshot)
    claimed = await world.claim(execution.id, "w1")
    assert claimed
    recorder = EventRecorder(world.store, FakeHints())
    recorder.start()
    task = replace(claimed.tasks[0], attempts=1)
    role = next(role for role in snapshot.roles if role.id == task.role_id)
    work = TaskWork(claimed.ownership, execution.team_id, task, role, [], "", a_route(FIRST), 5, 60.0)
    async with ModelServer() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        client = LiteLLMClient()
        # The first call of a process imports for longer than any time limit below.
        await client.complete(replace(REQUEST, model=FIRST.name, timeout_seconds=60.0), lambda _: None)
        server.clear()
        gateway = RoutedGateway(client, SqlCallBudgets(database.pool), RULES)
        yield Stage(server, database, gateway, recorder, recorder.sink(claimed.ownership), work)
        await client.close()
    await recorder.stop(1)


def of_model(name: str) -> Any:
    return lambda request: request.body["model"] == name.partition("/")[2]


CONTEXT = {"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}


@pytest.mark.parametrize(
    ("faults", "outcomes", "code"),
    [
        ([Status(429)], ["FAILED", "SUCCEEDED"], None),
        ([Status(429, retry_after=0.02)], ["FAILED", "SUCCEEDED"], None),
        ([Status(500)], ["FAILED", "SUCCEEDED"], None),
        ([Status(500), Status(503)], ["FAILED", "FAILED"], FailureCode.MODEL_UNAVAILABLE),
        ([Status(401)], ["FAILED"], FailureCode.MODEL_REFUSED),
        ([Status(400, CONTEXT)], ["FAILED"], FailureCode.MODEL_REFUSED),
        ([Status(404)], ["FAILED"], FailureCode.MODEL_UNKNOWN),
        ([Garbage()], ["FAILED", "SUCCEEDED"], None),
        ([Text("")], ["FAILED", "SUCCEEDED"], None),
        ([HangUp()], ["FAILED", "SUCCEEDED"], None),
        ([HangUp(after_chunks=2)], ["FAILED", "SUCCEEDED"], None),
        ([Silence(after_chunks=1), Silence()], ["FAILED", "FAILED"], FailureCode.MODEL_UNAVAILABLE),
    ],
    ids=str,
)
async def test_each_fault_ends_as_documented_with_a_row_for_each_request(
    stage: Stage, faults: list[Answer], outcomes: list[str], code: FailureCode | None
) -> None:
    stage.server.script(*faults, GOOD)
    request = HASTY if any(isinstance(fault, Silence) for fault in faults) else REQUEST

    if code is None:
        assert (await stage.call(request=request)).text == "Good."
    else:
        with pytest.raises(RunFailed) as caught:
            await stage.call(request=request)
        assert caught.value.code is code

    entries = await stage.ledger()
    assert [entry.outcome.value for entry in entries] == outcomes
    assert stage.server.received == len(entries)
    spent = sum((entry.cost for entry in entries), Decimal(0))
    assert await stage.accounts() == [(spent, Decimal(0))] * 5


async def test_two_providers_of_three_are_down(stage: Stage) -> None:
    stage.server.when(of_model(FIRST.name), Status(500))
    stage.server.when(of_model(SECOND.name), Status(429))
    stage.server.when(of_model(THIRD.name), GOOD)

    answer = await stage.call(a_route(FIRST, SECOND, THIRD))
    again = await stage.call()

    entries = await stage.ledger()
    assert (answer.text, again.text) == ("Good.", "Good.")
    assert stage.server.received == len(entries) == 6  # the second call passes by those that cool down
    assert [entry.model for entry in entries] == [FIRST.name] * 2 + [SECOND.name] * 2 + [THIRD.name] * 2
    assert entries[-1].cost == Decimal("0.00006")  # 10 at 2, 5 at 8 dollars per million
    assert entries[-1].decision
    assert entries[-1].decision.reason.startswith("openai/gpt-4.1-mini is cooling down")


async def test_a_connection_that_is_refused_is_a_row_and_the_next_model_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MISTRAL_API_BASE", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("MISTRAL_API_KEY", "none")
    silent = a_model("mistral/mistral-small-latest", prompt_price=Decimal(1), completion_price=Decimal(1))
    stage.server.script(GOOD)

    await stage.call(a_route(silent, FIRST))

    assert [(entry.provider, entry.outcome.value, entry.cost == 0) for entry in await stage.ledger()] == [
        ("mistral", "FAILED", True),
        ("mistral", "FAILED", True),
        ("openai", "SUCCEEDED", False),
    ]


async def test_a_model_that_ignores_its_cap_is_booked_in_full_and_stops_the_next_call(stage: Stage) -> None:
    await stage.database.pool.execute("UPDATE execution SET max_budget = 0.001")
    stage.server.script(Text("Long.", usage=Usage(10, 50_000)))

    await stage.call()
    with pytest.raises(RunFailed) as caught:
        await stage.call()

    [entry] = await stage.ledger()
    assert (entry.cost, entry.is_overrun) == (Decimal("0.0300015"), True)
    assert caught.value.code is FailureCode.BUDGET_EXCEEDED
    assert caught.value.shortfall
    assert caught.value.shortfall.spent_amount == entry.cost
    assert stage.server.received == 1


async def test_two_hundred_calls_at_once_against_a_budget_for_a_hundred_and_twenty(stage: Stage) -> None:
    one = await _worst_case(stage)
    await stage.database.pool.execute("UPDATE team SET monthly_budget = $1", one * 120)
    # What the server reports costs exactly what is reserved.
    stage.server.default = Text("Good.", usage=Usage(stage.gateway.client.most_prompt_tokens(REQUEST), 100))

    ends = await asyncio.gather(*(stage.call() for _ in range(200)), return_exceptions=True)

    entries = await stage.ledger()
    passed = [end for end in ends if isinstance(end, ModelAnswer)]
    refused = [end for end in ends if isinstance(end, RunFailed) and end.code is FailureCode.BUDGET_EXCEEDED]
    assert (len(passed), len(refused), len(entries), stage.server.received) == (120, 80, 120, 120)
    assert sum(entry.cost for entry in entries) == one * 120
    assert await stage.accounts() == [(one * 120, Decimal(0))] * 5


async def _worst_case(stage: Stage) -> Decimal:
    prices = stage.work.route.first.deployment.prices
    return prices.worst(stage.gateway.client.most_prompt_tokens(REQUEST), 100)


async def test_a_cancelled_call_closes_its_socket_and_is_booked(stage: Stage) -> None:
    stage.server.script(Silence(after_chunks=1))
    call = asyncio.create_task(stage.call())
    await stage.server.wait_for_requests(1, timeout=20.0)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    await stage.server.wait_for_disconnects(1, timeout=20.0)
    [entry] = await stage.ledger()
    assert entry.outcome.value == "CANCELLED"
    assert [reserved for _, reserved in await stage.accounts()] == [Decimal(0)] * 5
