"""What the proofs with real processes have in common."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from app.migrations import migrate
from tests.support.cluster import Api, Cluster, Workers, a_cluster
from tests.support.model_server import ModelServer, Text
from tests.support.postgres import DatabaseServer


@dataclass(frozen=True, slots=True)
class Fleet:
    """Two API processes and two workers with fifty places each; importing takes so long that tests share them."""

    cluster: Cluster
    here: Api
    there: Api
    workers: Workers


@pytest.fixture(scope="session")
def _fleet(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    database_server.make_template(migrate)
    name = f"fleet_{os.getpid()}"
    url = database_server.clone_database(name)
    with (
        ModelServer.in_thread() as models,
        a_cluster(url, tmp_path_factory.mktemp("fleet"), models, worker_concurrency="50") as cluster,
    ):
        workers = cluster.workers(2, "fleet")
        yield Fleet(cluster, cluster.api(), cluster.api(), workers)
    database_server.drop_database(name)


@pytest.fixture
def fleet(_fleet: Fleet) -> Fleet:
    """The processes of the run, with nothing to do and no script."""
    _fleet.cluster.models.clear()
    _fleet.cluster.models.default = Text("Done.")
    return _fleet
