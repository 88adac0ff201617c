"""A generation survives its worker: another one goes on from what was paid, and pays nothing twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Api, Cluster, Workers, a_cluster
from tests.support.compositions import an_answer
from tests.support.model_server import ModelServer, Text, Usage
from tests.support.processes import SOON, wait_until

GENERATION = """
query($id: ID!) { generation(id: $id) {
    status composedBy isFirstValid repairs model proposal { name roles { title } }
} }
"""
LEDGER = "SELECT outcome, call, call_attempt FROM ledger_entry ORDER BY id"


@pytest.fixture
def models() -> Iterator[ModelServer]:
    with ModelServer.in_thread() as server:
        yield server


@pytest.fixture
def cluster(database_url: str, tmp_path: Path, models: ModelServer) -> Iterator[Cluster]:
    with a_cluster(database_url, tmp_path, models) as cluster:
        yield cluster


def _generate(api: Api) -> str:
    project_id = api.make("Project", name="Bicycles")
    payload = api.mutate(
        "generateTeam", "generation { id status }", projectId=project_id, objective="Report on the bicycle market."
    )
    assert payload["generation"]["status"] == "PENDING"
    identifier: str = payload["generation"]["id"]
    return identifier


def _kill_its_worker(cluster: Cluster, workers: Workers) -> None:
    """`kill -9`, and the end of its lease at once: half a minute later it would be over by itself."""
    [row] = cluster.rows("SELECT worker_id FROM generation")
    workers.named(row["worker_id"]).kill()
    cluster.rows("UPDATE generation SET locked_until = now() - interval '1 second' RETURNING id")


def test_a_worker_is_killed_while_its_model_repairs_and_another_one_finishes(
    cluster: Cluster, models: ModelServer
) -> None:
    # The first answer will not do; while the second one is on its way, whoever waits for it is killed.
    paid = Usage(1_000, 500)
    models.script(Text("No team comes to my mind.", usage=paid), Text(an_answer(), latency=600))
    models.default = Text(an_answer(), usage=paid)
    api, workers = cluster.api(), cluster.workers(2)
    wait_until(lambda: len(workers.ready()) == 2)

    generation_id = _generate(api)
    models.block_for_requests(2, SOON)
    _kill_its_worker(cluster, workers)

    def found() -> dict[str, object]:
        answer: dict[str, object] = api.ask(GENERATION, id=generation_id)["generation"]
        return answer

    wait_until(lambda: found()["status"] == "READY")
    assert found() == {
        "status": "READY",
        "composedBy": "MODEL_REPAIRED",
        "isFirstValid": False,
        "repairs": 1,
        "model": "openai/gpt-4o-mini",
        "proposal": {"name": "Market watch", "roles": [{"title": "Researcher"}, {"title": "Writer"}]},
    }
    assert models.received == 3  # the first answer was paid for, and is not asked for again
    assert [tuple(row.values()) for row in cluster.rows(LEDGER)] == [
        ("SUCCEEDED", 1, 1),
        ("LOST", 2, 1),
        ("SUCCEEDED", 2, 2),
    ]

    accepted = api.mutate("acceptGeneration", "team { name roles { title } }", generationId=generation_id)
    assert accepted["team"] == {"name": "Market watch", "roles": [{"title": "Researcher"}, {"title": "Writer"}]}
