"""The API of these many tests: they share one database per worker, which each finds as empty as a new one."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from app.migrations import migrate
from app.settings import Settings
from domain.model.identity import DEFAULT_TENANT
from persistence.tables import metadata
from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="session")
def graph_database_url(database_server: DatabaseServer) -> Iterator[str]:
    database_server.make_template(migrate)
    name = f"graph_{os.getpid()}"
    yield database_server.clone_database(name)
    database_server.drop_database(name)


@pytest.fixture
def database_url(graph_database_url: str) -> str:
    with psycopg.connect(graph_database_url, autocommit=True) as owner:
        owner.execute(_emptying())
    return graph_database_url


def _emptying() -> sql.Composed:
    """All statements in one round trip and one commit: there are dozens of tables, and many hundred tests."""
    others = [table.name for table in metadata.sorted_tables if table.name != "tenant"]
    mine = sql.Literal(str(DEFAULT_TENANT))
    return sql.SQL("; ").join(
        [
            sql.SQL("SET session_replication_role = replica"),  # in any order, whatever refers to what
            *(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)) for name in others),
            sql.SQL("DELETE FROM tenant WHERE id <> {}").format(mine),
            sql.SQL("UPDATE tenant SET monthly_budget = NULL, max_parallel_executions = NULL, retention_days = NULL"),
            sql.SQL("UPDATE tenant SET alert_rules_seeded_at = NULL"),
        ]
    )


@pytest.fixture
def settings(database_url: str) -> Settings:
    """A name of a megabyte has to get in, to be refused by a rule and not by a limit."""
    return Settings(database_url=database_url, broadcast_url="memory://", pool_size=5, max_request_bytes=4_000_000)
