"""What a worker tells Prometheus of real runs is what the database says of them."""

import asyncio
import os
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

import tests.support.crew_environment  # noqa: F401 - before litellm
from app.settings import Settings
from app.worker import WorkerOptions, run_worker
from domain.model.admission import Admission
from domain.model.execution import Execution
from domain.model.identity import DEFAULT_TENANT
from domain.model.tool import RoleTool, Tool, ToolKind
from persistence.engine import Database
from tests.support.fakes import a_team_with_tasks
from tests.support.model_server import ModelServer, Status, Text, ToolCall, Usage
from tests.support.processes import free_port
from tests.support.worlds import SqlWorld

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]

SPENT = """
    SELECT count(*) AS calls, count(*) FILTER (WHERE outcome = 'FAILED') AS failed, sum(prompt_tokens) AS prompt,
        sum(completion_tokens) AS completion, sum(cached_tokens) AS cached, sum(cost)::float8 AS cost,
        sum(latency_seconds) AS seconds
    FROM ledger_entry
"""


@asynccontextmanager
async def a_worker(settings: Settings, port: int) -> AsyncIterator[None]:
    """A whole one, with CrewAI and LiteLLM; told to stop at the end of the block, and has stopped after it."""
    parent, child_end = os.pipe()
    worker = asyncio.create_task(run_worker(WorkerOptions(settings, "w1", parent_fd=parent, metrics_port=port)))
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        os.close(child_end)
        await worker
        os.close(parent)


async def scraped(port: int, path: str = "/metrics", **headers: str) -> Samples:
    """Every sample by its name and labels. Raises HTTPError."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with await asyncio.to_thread(opener.open, request, timeout=30) as answer:
        return samples_in(answer.read().decode())


async def settled(port: int) -> Samples:
    """When what is stored is counted, too: the database knows of an end before the worker hears that it does."""
    names = ("runs_active", "recorder_waiting_changes", "hints_connected")
    while True:
        samples = await scraped(port)
        if [total(samples, name) for name in names] == [0, 0, 1]:
            return samples
        await asyncio.sleep(0.05)


def samples_in(text: str) -> Samples:
    return {
        (sample.name.removeprefix("regatta_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum over all that have these labels."""
    return sum(value for (found, own), value in samples.items() if found == name and own >= set(labels.items()))


async def kicked_off(world: SqlWorld) -> Execution:
    """An execution of two tasks and a role with a calculator that waits for a place."""
    execution, tasks, snapshot = a_team_with_tasks("first", "second")
    tool = Tool(DEFAULT_TENANT, execution.project_id, "calculator", ToolKind.CALCULATOR)
    snapshot.tools.append(tool)
    snapshot.role_tools.append(RoleTool(DEFAULT_TENANT, snapshot.roles[0].id, tool.id))
    await world.add(execution, tasks, snapshot)
    async with world.units(DEFAULT_TENANT) as unit:
        await unit.executions.lock(execution.id)
        await unit.executions.withdraw(execution.id)
        place = Admission(DEFAULT_TENANT, execution.id, execution.project_id, execution.team_id)
        await unit.executions.wait_for_place(place)
        await unit.commit()
    return execution


async def ended(world: SqlWorld, execution: Execution) -> Execution:
    while not (now := await world.execution(execution.id)).is_final:  # noqa: ASYNC110 - it ends elsewhere
        await asyncio.sleep(0.02)
    return now


async def test_real_runs_move_the_counters_by_what_ledger_and_executions_say(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port = SqlWorld(database), free_port()
    told = settings.model_copy(update={"model": "openai/gpt-4o-mini", "worker_metrics_port": port})
    async with ModelServer() as models:
        monkeypatch.setenv("OPENAI_API_BASE", models.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        async with a_worker(told, port):
            models.script(
                ToolCall("calculator", {"expression": "1+1"}, usage=Usage(11, 3)),
                Text("Two.", usage=Usage(100, 7, cached=40)),
                Text("Done.", usage=Usage(1000, 13)),
            )
            good = await ended(world, await kicked_off(world))
            models.script(Text("Half.", usage=Usage(5, 5)), Status(400))
            bad = await ended(world, await kicked_off(world))
            samples = await settled(port)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                await scraped(port, host="evil.example")
            with pytest.raises(urllib.error.HTTPError, match="404"):
                await scraped(port, path="/")

    [spent] = await database.pool.fetch(SPENT)
    own = {"provider": "openai", "model": "openai/gpt-4o-mini"}
    assert (good.status.value, bad.status.value) == ("COMPLETED", "FAILED")
    assert (spent["calls"], spent["failed"], spent["prompt"], spent["cached"]) == (5, 1, 1116, 40)
    assert total(samples, "model_calls_total", outcome="SUCCEEDED", **own) == 4
    assert total(samples, "model_calls_total", outcome="FAILED", **own) == 1
    assert total(samples, "tokens_total", kind="prompt") == spent["prompt"]
    assert total(samples, "tokens_total", kind="completion") == spent["completion"]
    assert total(samples, "tokens_total", kind="cached") == spent["cached"]
    assert total(samples, "spend_dollars_total", **own) == pytest.approx(spent["cost"], rel=1e-12)
    assert total(samples, "model_call_duration_seconds_count") == spent["calls"]
    assert total(samples, "model_call_duration_seconds_sum") == pytest.approx(spent["seconds"], rel=1e-9)
    assert [total(samples, "executions_ended_total", status=each) for each in ("COMPLETED", "FAILED")] == [1, 1]
    assert [total(samples, "tasks_ended_total", status=each) for each in ("COMPLETED", "FAILED")] == [3, 1]
    assert total(samples, "tool_calls_total", outcome="SUCCEEDED") == 1
    assert total(samples, "events_recorded_total") == await database.pool.fetchval(
        "SELECT count(*) FROM execution_event WHERE type <> 'ExecutionStarted'"  # which the claim writes
    )
    durations = (good.timing.duration_seconds or 0) + (bad.timing.duration_seconds or 0)
    assert total(samples, "execution_duration_seconds_sum") == pytest.approx(durations, abs=1e-5)
    assert (total(samples, "runs_active"), total(samples, "recorder_waiting_changes")) == (0, 0)
    assert (total(samples, "worker_slots"), total(samples, "hints_connected")) == (10, 1)
    assert str(DEFAULT_TENANT) not in str(samples)


async def test_a_port_that_is_taken_keeps_nobody_from_work(database: Database, settings: Settings) -> None:
    world = SqlWorld(database)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with a_worker(settings, taken.getsockname()[1]):
            over = await ended(world, await kicked_off(world))

    assert over.is_final
