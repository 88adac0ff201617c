"""The audit's table: what it says stands, each tenant's is its own, and only what is old can be forgotten."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import psycopg
import pytest
from psycopg import errors

from domain.model.acting import Act, Origin, acting, origin
from domain.model.audit import AuditAction, AuditEntry
from domain.model.identity import DEFAULT_TENANT, PrincipalId, TenantId, utc_now
from domain.model.page import Condition, Operator, PageRequest
from domain.model.project import Project
from domain.services.retention import ForgetOld
from persistence.audit_reader import SqlAuditTrail
from persistence.engine import APPLICATION_ROLE, Database
from persistence.reader import SqlReader
from persistence.retention import SqlRetention
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.urls import plain_url


@contextmanager
def connected(url: str, *, as_application: bool = False) -> Iterator[psycopg.Connection]:
    options = f"-c role={APPLICATION_ROLE}" if as_application else ""
    with psycopg.connect(plain_url(url), autocommit=True, options=options) as connection:
        yield connection


@contextmanager
def acting_as(operation: str, principal_id: UUID | None = None) -> Iterator[None]:
    act = acting.set(Act(operation, PrincipalId(principal_id) if principal_id else None))
    came = origin.set(Origin("request-1", "10.0.0.7", "a-client"))
    try:
        yield
    finally:
        origin.reset(came)
        acting.reset(act)


async def made(database: Database, name: str = "One", tenant_id: TenantId = DEFAULT_TENANT) -> Project:
    project = Project(tenant_id, name)
    async with SqlUnitsOfWork(database.engine)(tenant_id) as unit:
        await unit.projects.add(project)
        await unit.commit()
    return project


async def entries(database: Database, tenant_id: TenantId = DEFAULT_TENANT) -> list[AuditEntry]:
    request = PageRequest(order_by="occurred_at", descending=False)
    pages = await SqlReader(database.pool).pages(AuditEntry, tenant_id, "tenant_id", [tenant_id], request)
    return list(pages[tenant_id].items)


ADD = """
    INSERT INTO audit_entry (tenant_id, id, occurred_at, operation, object_type, object_id, action)
    VALUES (%s, %s, %s, 'createTeam', 'Team', gen_random_uuid(), 'CREATED')
"""


def an_entry(url: str, age: timedelta = timedelta()) -> UUID:
    """The id of an entry that is so old; the owner of the table brings it in."""
    identifier = uuid4()
    with connected(url) as owner:
        owner.execute(ADD, [DEFAULT_TENANT, identifier, utc_now() - age])
    return identifier


# ---------------------------------------------------------------- who, and from where


async def test_an_entry_says_who_did_what_from_where(database: Database) -> None:
    principal_id = uuid4()

    with acting_as("createProject", principal_id):
        project = await made(database)

    [entry] = await entries(database)
    assert (entry.operation, entry.action, entry.object_type) == ("createProject", AuditAction.CREATED, "Project")
    assert (entry.object_id, entry.principal_id) == (project.id, principal_id)
    assert (entry.request_id, entry.address, entry.user_agent) == ("request-1", "10.0.0.7", "a-client")


async def test_the_next_transaction_of_a_connection_is_nobodys(database: Database) -> None:
    with acting_as("createProject"):
        await made(database, "Asked for")

    for number in range(10):  # whichever connection each of them gets
        await made(database, f"Not asked for {number}")

    assert len(await entries(database)) == 1


async def test_an_entry_is_in_the_transaction_of_its_change(database: Database) -> None:
    with acting_as("createProject"):
        async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
            await unit.projects.add(Project(DEFAULT_TENANT, "Left without a commit"))

    assert await entries(database) == []


async def test_a_tenant_has_its_own_entries(database: Database, database_url: str) -> None:
    other = TenantId(uuid4())
    with connected(database_url) as owner:
        owner.execute("INSERT INTO tenant (id, name, created_at) VALUES (%s, 'Other', now())", [other])

    with acting_as("createProject"):
        mine, theirs = await made(database), await made(database, tenant_id=other)

    assert [entry.object_id for entry in await entries(database)] == [mine.id]
    assert [entry.object_id for entry in await entries(database, other)] == [theirs.id]


# ---------------------------------------------------------------- what stands

DEEDS = ("UPDATE audit_entry SET operation = 'nothing'", "DELETE FROM audit_entry", "TRUNCATE audit_entry")


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("as_application", [True, False])
async def test_nobody_changes_or_removes_what_the_audit_says(
    database: Database, database_url: str, deed: str, as_application: bool
) -> None:
    an_entry(database_url)

    with (
        connected(database_url, as_application=as_application) as connection,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        connection.execute(deed.encode())

    assert [entry.operation for entry in await entries(database)] == ["createTeam"]


async def test_the_application_cannot_say_that_it_is_forgetting(database_url: str) -> None:
    an_entry(database_url)

    with connected(database_url, as_application=True) as connection:
        connection.execute("SET regatta.is_forgetting = 'yes'")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("DELETE FROM audit_entry")


async def test_the_application_cannot_make_an_entry_up(database: Database, database_url: str) -> None:
    with connected(database_url, as_application=True) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(ADD, [DEFAULT_TENANT, uuid4(), utc_now()])

    assert await entries(database) == []


# ---------------------------------------------------------------- what may be told

ADDRESSES = [
    ("https://hooks.example.org", "https://hooks.example.org"),
    ("https://hooks.example.org/", "https://hooks.example.org"),
    ("https://hooks.example.org:8443/services/MARK?token=MARK#MARK", "https://hooks.example.org:8443/(not kept)"),
    ("http://MARK:MARK@[::1]:80", "http://[::1]:80/(not kept)"),
    ("https://example.org?MARK", "https://example.org/(not kept)"),
    ("https://user:MARK/MARK@example.org", "(not kept)"),
    ("https://MARK\\@example.org", "(not kept)"),
    ("MARK", "(not kept)"),
]


@pytest.mark.parametrize(("address", "told"), ADDRESSES)
def test_of_an_address_only_the_server_is_told(database_url: str, address: str, told: str) -> None:
    with connected(database_url) as owner:
        row = owner.execute("SELECT audit_address(%s)", [address]).fetchone()

    assert row == (told,)


# ---------------------------------------------------------------- the download


async def downloaded(database: Database, *conditions: Condition) -> list[AuditEntry]:
    batches = SqlAuditTrail(database.pool, 60).entries(DEFAULT_TENANT, conditions)
    return [entry async for batch in batches for entry in batch]


async def test_a_download_ends_before_what_somebody_still_writes_so_that_the_next_one_misses_nothing(
    database: Database, database_url: str
) -> None:
    old = an_entry(database_url, timedelta(minutes=1))
    with acting_as("createProject"):
        slow = Project(DEFAULT_TENANT, "Slow")
        async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
            await unit.projects.add(slow)
            quick = await made(database, "Quick")
            before = await downloaded(database)
            await unit.commit()

    after = await downloaded(database, Condition("occurred_at", Operator.GTE, before[-1].occurred_at))

    assert [entry.id for entry in before] == [old]
    assert [entry.object_id for entry in after[1:]] == [slow.id, quick.id]


async def test_an_id_is_of_the_moment_of_its_entry(database: Database) -> None:
    with acting_as("createProject"):
        await made(database)

    [entry] = await entries(database)
    assert (entry.id.version, entry.id.variant) == (7, RFC_4122)
    assert entry.id.int >> 80 == int(entry.occurred_at.timestamp() * 1000)


# ---------------------------------------------------------------- what is forgotten


async def swept(database: Database, audit_days: int | None, batch: int = 1_000) -> int:
    return await ForgetOld(SqlRetention(database.pool, None, audit_days), batch, pause_seconds=0).sweep()


async def left(database: Database) -> set[Any]:
    return {entry.id for entry in await entries(database)}


async def test_entries_are_kept_for_ever_unless_the_deployment_says_otherwise(
    database: Database, database_url: str
) -> None:
    old = an_entry(database_url, timedelta(days=4_000))

    assert await swept(database, None) == 0
    assert await left(database) == {old}


async def test_older_entries_are_forgotten_in_batches_and_younger_ones_stay(
    database: Database, database_url: str
) -> None:
    young = an_entry(database_url, timedelta(days=29))
    for _ in range(5):
        an_entry(database_url, timedelta(days=31))

    assert await swept(database, 30, batch=2) == 5
    assert await left(database) == {young}


async def test_nothing_of_the_last_thirty_days_can_be_forgotten_whatever_is_asked(
    database: Database, database_url: str
) -> None:
    recent = an_entry(database_url, timedelta(days=29))

    assert await swept(database, 1) == 0
    assert await database.pool.fetchval("SELECT forget_audit(now() + interval '1 year', 1000)") == 0
    assert await database.pool.fetchval("SELECT forget_audit(NULL, 1000)") == 0
    assert await left(database) == {recent}
