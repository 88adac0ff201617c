"""Traces with real processes: one from a client's request to each model call, and no collector is no hindrance."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collector import Collector, Received
from tests.support.model_server import ModelServer, Text, Usage
from tests.support.postgres import disposable_data_dir
from tests.support.processes import REPOSITORY, Served, environment, free_port, served, wait_until

MODEL = "openai/gpt-4o-mini"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TEAM = "{ tenant { projects { nodes { teams { nodes { id } } } } } }"
KICKOFF = """
mutation($input: KickoffTeamInput!) { kickoffTeam(input: $input) { execution { id } errors { message } } }
"""
EXECUTION = """
query($id: ID!) { execution(id: $id) {
    status ledger(first: 100) { nodes { promptTokens completionTokens } } taskExecutions { id }
} }
"""
SECRET = "sk-secret"
TELLING = "Tell nobody"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer.in_thread() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20let-me-in")
        server.default = Text(TELLING, usage=Usage(1000, 100))
        yield server


def _run(server: Served, **headers: str) -> Any:
    """An execution of the seeded team, when it is over."""
    team_id = server.ask(TEAM)["tenant"]["projects"]["nodes"][0]["teams"]["nodes"][0]["id"]
    inputs = {"product": TELLING, "audience": "sailors", "launch_date": "spring"}
    body = {"query": KICKOFF, "variables": {"input": {"teamId": team_id, "inputs": inputs}}}
    payload = server.get("/graphql", body, headers)["data"]["kickoffTeam"]
    assert payload["errors"] == []

    def execution() -> Any:
        return server.ask(EXECUTION, id=payload["execution"]["id"])["execution"]

    wait_until(lambda: execution()["status"] in {"COMPLETED", "FAILED"})
    return execution()


def _tree(spans: list[Received]) -> set[tuple[str, str, str]]:
    """The service and the name of each span, with the name of what it is part of."""
    names = {span.span_id: span.name for span in spans} | {PARENT: "the client"}
    return {(span.service, span.name, names.get(span.parent_id, "nothing")) for span in spans}


def test_one_trace_leads_from_a_request_to_each_model_call_once_there_is_a_collector(
    data_dir: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    with served(data_dir, model=MODEL, log_format="json") as server:
        server.wait_for_worker()
        assert _run(server)["status"] == "COMPLETED"  # nobody is there to take its spans
        wait_until(lambda: server.said().count("traces_not_sent") == 2)  # API and worker, each once

        with Collector.in_thread(port) as collector:
            ended = _run(server, traceparent=f"00-{TRACE}-{PARENT}-01")
            wait_until(lambda: len(collector.of(TRACE)) == 11)  # two processes send them, each when it likes
            server.press_ctrl_c()
            spans, every, headers = list(collector.of(TRACE)), list(collector.spans), collector.headers

        said = server.said()

    api, worker = "regatta-api", "regatta-worker"
    assert _tree(spans) == {
        (api, "POST /graphql", "the client"),
        (api, "mutation", "POST /graphql"),
        (api, "kickoff", "mutation"),
        (worker, "queue wait", "kickoff"),
        (worker, "execution", "kickoff"),
        (worker, "task", "execution"),
        (worker, "chat gpt-4o-mini", "task"),
    }
    calls = [span.attributes for span in spans if span.name.startswith("chat")]
    counted = [(each["gen_ai.usage.input_tokens"], each["gen_ai.usage.output_tokens"]) for each in calls]
    entries = ended["ledger"]["nodes"]
    assert counted == [(entry["promptTokens"], entry["completionTokens"]) for entry in entries] == [(1000, 100)] * 3
    assert len([span for span in spans if span.name == "task"]) == len(ended["taskExecutions"]) == 3
    assert len(spans) == 11
    assert not [span for span in every if span.is_error]
    assert models.received == 6
    assert {span.scope for span in every} == {"regatta"}  # nobody else sends anything
    assert headers["authorization"] == "Bearer let-me-in"
    assert not [text for text in (TELLING, SECRET, "let-me-in") if text in str(every)]
    assert said.count("traces_not_sent") == 2
    assert "let-me-in" not in said


PROGRAM = """
import asyncio, sys
from app.main import create_app
from app.settings import Settings
from tests.support.graphql import Graph

async def main():
    async with Graph.over(create_app(Settings())) as graph:
        await graph.query("{ tenant { id } }")
        await graph.kickoff(await graph.ready_team())

asyncio.run(main())
print([name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "requests")])
"""


def test_without_a_collector_the_api_knows_nothing_of_opentelemetry(database_url: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env=environment(database_url=database_url, broadcast_url="memory://"),
        check=True,
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout.strip().splitlines()[-1]) == []
