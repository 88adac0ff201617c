"""Money with real processes: what a killed worker had begun is on the ledger, and a budget stops an execution."""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_server import ModelServer, Silence, Text, Usage
from tests.support.postgres import disposable_data_dir
from tests.support.processes import SOON, Served, served, wait_until

MODEL = "openai/gpt-4o-mini"  # 0.15 and 0.60 dollars per million tokens
TEAM = "{ tenant { projects { nodes { teams { nodes { id } } } } } }"
KICKOFF = """
mutation($input: KickoffTeamInput!) { kickoffTeam(input: $input) { execution { id } errors { message } } }
"""
EXECUTION = """
query($id: ID!) { execution(id: $id) {
    status usage { calls cost { amount } } budget { spent { amount } reserved { amount } isWarned }
    failure { code message budget { scope limit { amount } spent { amount } required { amount } } }
    taskExecutions { status output }
    ledger(first: 100) { nodes { outcome cost { amount } reserved { amount } tokenSource error callAttempt attempt
        decision { reason model } } }
    team { budget { spent { amount } reserved { amount } } }
    events(first: 100) { nodes { __typename } }
} }
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with disposable_data_dir() as directory:
        yield directory


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    with ModelServer.in_thread() as server:
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        yield server


def _kicked_off(server: Served, **values: Any) -> str:
    team_id = server.ask(TEAM)["tenant"]["projects"]["nodes"][0]["teams"]["nodes"][0]["id"]
    inputs = {"product": "a boat", "audience": "sailors", "launch_date": "spring"}
    payload = server.ask(KICKOFF, input={"teamId": team_id, "inputs": inputs, **values})["kickoffTeam"]
    assert payload["errors"] == []
    identifier: str = payload["execution"]["id"]
    return identifier


def _ended(server: Served, execution_id: str) -> Any:
    def execution() -> Any:
        return server.ask(EXECUTION, id=execution_id)["execution"]

    wait_until(lambda: execution()["status"] in {"COMPLETED", "FAILED"})
    return execution()


def test_the_call_of_a_killed_worker_is_booked_as_lost_and_made_again(data_dir: Path, models: ModelServer) -> None:
    models.script(Silence(after_chunks=1))
    models.default = Text("Done.", usage=Usage(1000, 100))
    with served(data_dir, model=MODEL) as server:
        server.wait_for_worker()
        execution_id = _kicked_off(server)
        models.block_for_requests(1, timeout=SOON)
        time.sleep(0.2)  # the reservation is committed before the request; the first words need not be

        server.worker().kill()
        ended = _ended(server, execution_id)

        entries = ended["ledger"]["nodes"]
        lost = [entry for entry in entries if entry["outcome"] == "LOST"]
        spent = sum(Decimal(entry["cost"]["amount"]) for entry in entries)
        assert ended["status"] == "COMPLETED"
        assert len(entries) == models.received == 4
        assert [(entry["tokenSource"], entry["error"], entry["cost"]) for entry in lost] == [
            ("ESTIMATE", "WORKER_LOST", lost[0]["reserved"])
        ]
        assert Decimal(ended["usage"]["cost"]["amount"]) == spent
        for budget in (ended["budget"], ended["team"]["budget"]):
            assert [Decimal(budget[kind]["amount"]) for kind in ("spent", "reserved")] == [spent, Decimal(0)]
        server.press_ctrl_c()


def test_a_budget_stops_before_the_call_that_would_exceed_and_keeps_what_was_done(
    data_dir: Path, models: ModelServer
) -> None:
    models.default = Text("Done.", usage=Usage(2000, 6000))  # 0.0039 dollars
    with served(data_dir, model=MODEL) as server:
        server.wait_for_worker()

        ended = _ended(server, _kicked_off(server, maxBudget="0.0042"))

        failure = ended["failure"]
        assert (ended["status"], failure["code"]) == ("FAILED", "BUDGET_EXCEEDED")
        assert failure["budget"]["scope"] == "EXECUTION"
        assert (failure["budget"]["limit"]["amount"], failure["budget"]["spent"]["amount"]) == ("0.0042", "0.0039")
        assert Decimal(failure["budget"]["required"]["amount"]) > Decimal("0.0003")
        assert [task["status"] for task in ended["taskExecutions"]] == ["COMPLETED", "FAILED", "SKIPPED"]
        assert ended["taskExecutions"][0]["output"] == "Done."
        assert models.received == len(ended["ledger"]["nodes"]) == 1
        assert ended["budget"]["isWarned"]
        assert "BudgetWarned" in [event["__typename"] for event in ended["events"]["nodes"]]
        server.press_ctrl_c()
