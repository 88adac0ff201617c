"""What became of executions, summed up from real rows: exact figures, and nothing of what does not count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.errors import FailureCode
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from domain.model.generation import Fallback, Generation, GenerationStatus
from domain.model.history import ModelRecord, Quantiles, SimilarHistory, TaskRecord, TeamHistory
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, TenantId, new_id, utc_now
from domain.model.model import Model, Tier
from domain.model.optimization import Trial
from domain.model.optimizing.measuring import Figures, TrialFigures
from domain.model.project import Project
from domain.model.role import Role
from domain.model.skill import SkillOutcome
from domain.model.task import Task
from domain.model.team import Process, Team
from persistence.engine import Database
from persistence.history_reader import SqlHistories
from persistence.reader import SqlReader
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.histories import Did, a_past_run, past_runs

STRANGER = TenantId(UUID(int=7))


@pytest.fixture
def histories(database: Database) -> SqlHistories:
    return SqlHistories(database.pool)


async def a_team(database: Database, *skills: str, process: Process = Process.SEQUENTIAL, **task: Any) -> Any:
    """A team with one role and one task: (team, role, task)."""
    project = Project(DEFAULT_TENANT, f"Project {new_id()}")
    team = Team(DEFAULT_TENANT, project.id, "Team", process=process)
    role = Role(DEFAULT_TENANT, team.id, "Writer", skills=list(skills))
    work = Task(DEFAULT_TENANT, team.id, "Write", "Write it.", "A text.", role_id=role.id, **task)
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.projects.add(project)
        await unit.teams.add(team)
        await unit.roles.add(role)
        await unit.tasks.add(work)
        await unit.commit()
    return team, role, work


def failed(did: Did, failure: FailureCode = FailureCode.MODEL_UNAVAILABLE) -> Did:
    return replace(did, status=TaskExecutionStatus.FAILED, failure=failure)


# ---------------------------------------------------------------- one team


async def test_a_team_without_executions_has_an_empty_history(database: Database, histories: SqlHistories) -> None:
    team, _, _ = await a_team(database)

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert found == TeamHistory(team.id)
    assert (found.finished, found.is_enough, found.success) == (0, False, None)


async def test_executions_are_counted_by_how_they_ended(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database)
    did = Did(role.id, task.id)
    await past_runs(database.pool, team.id, 3, did)
    await past_runs(database.pool, team.id, 2, failed(did))
    await a_past_run(database.pool, team.id, did, status=ExecutionStatus.CANCELLED)

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert (found.completed, found.failed, found.cancelled, found.with_events) == (3, 2, 1, 5)
    assert found.success == pytest.approx(0.6)
    assert found.failures == {"MODEL_UNAVAILABLE": 2}


async def test_what_completed_executions_took_is_told_in_quantiles(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database)
    for number in range(1, 12):  # 11 values: the 10th percentile is the second, the 90th the tenth
        did = Did(role.id, task.id, seconds=number, cost=f"{number}.50", prompt_tokens=number * 100)
        await a_past_run(database.pool, team.id, did, seconds=number * 10)
    await a_past_run(database.pool, team.id, failed(Did(role.id, task.id, seconds=900, cost="99")), seconds=900)

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert found.seconds == Quantiles(20, 60, 100)
    assert found.cost == Quantiles(2.5, 6.5, 10.5)
    assert found.mean_seconds == pytest.approx(60)
    assert found.mean_cost == Decimal("6.5")
    [own] = found.tasks
    assert (own.task_id, own.name, own.completed, own.failed) == (task.id, "Write", 11, 1)
    assert own.seconds == Quantiles(2, 6, 10)
    assert own.cost == Quantiles(2.5, 6.5, 10.5)
    assert own.prompt_tokens == Quantiles(200, 600, 1000)
    assert own.completion_tokens == Quantiles(200, 200, 200)
    assert own.calls == Quantiles(1, 1, 1)
    assert own.total_cost == Decimal("170.5")  # eleven times 6.5, and 99 of the failed one


async def test_waiting_for_people_does_not_count(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database)
    did = Did(role.id, task.id, seconds=5, asked_seconds=3600)
    await a_past_run(database.pool, team.id, did, seconds=3610, waited_seconds=3600.0)

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert found.seconds == Quantiles(10, 10, 10)
    assert found.tasks[0].seconds == Quantiles(5, 5, 5)


async def test_what_was_answered_from_the_cache_or_taken_over_does_not_count(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database)
    did = Did(role.id, task.id)
    first = await a_past_run(database.pool, team.id, did, seconds=100)
    reused = replace(did, status=TaskExecutionStatus.REUSED, cost="0", model=None)
    await a_past_run(database.pool, team.id, reused, status=ExecutionStatus.COMPLETED, cached_from=first)
    await a_past_run(database.pool, team.id, reused, status=ExecutionStatus.COMPLETED, retry_of=first, seconds=1)

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert (found.completed, found.tasks[0].completed, found.roles[0].completed) == (2, 1, 1)
    assert found.seconds == Quantiles(100, 100, 100)  # the retry did a part of the work alone


async def test_only_what_ended_within_the_time_counts(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database)
    now = utc_now()
    for hours in (5, 3, 1):
        await a_past_run(database.pool, team.id, Did(role.id, task.id), ended_at=now - timedelta(hours=hours))
    since, until = now - timedelta(hours=3), now - timedelta(hours=1)

    found = await histories.of_team(DEFAULT_TENANT, team.id, since, until)

    assert (found.completed, found.since, found.until) == (1, since, until)
    assert (await histories.of_team(DEFAULT_TENANT, team.id, since=since)).completed == 2
    assert (await histories.of_team(DEFAULT_TENANT, team.id, until=since)).completed == 1


async def test_a_task_tells_of_its_guardrail_and_its_attempts(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database, guardrail="It rhymes.")
    did = Did(role.id, task.id)
    await a_past_run(database.pool, team.id, replace(did, guardrail_failures=2, attempts=2))
    await a_past_run(database.pool, team.id, failed(replace(did, guardrail_failures=3), FailureCode.GUARDRAIL_FAILED))
    await a_past_run(database.pool, team.id, did)

    [own] = (await histories.of_team(DEFAULT_TENANT, team.id)).tasks

    assert (own.completed, own.failed, own.retried) == (2, 1, 1)
    assert (own.guardrail_failures, own.guardrail_failed) == (5, 1)


async def test_a_role_tells_which_models_it_used_and_what_they_took(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database)
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.models.add(Model(DEFAULT_TENANT, "openai/own", Tier.LOCAL))
        await unit.commit()
    for cost in ("0.1", "0.3"):
        await a_past_run(database.pool, team.id, Did(role.id, task.id, model="openai/own", cost=cost, seconds=4))
    await a_past_run(database.pool, team.id, failed(Did(role.id, task.id, model="openai/gpt-4o-mini", cost="1")))
    await a_past_run(database.pool, team.id, failed(Did(role.id, task.id, model="nobody/knows", cost="0")))
    await a_past_run(database.pool, team.id, failed(Did(role.id, task.id, model=None, cost="0")))

    [own] = (await histories.of_team(DEFAULT_TENANT, team.id)).roles

    assert (own.role_id, own.title, own.completed, own.failed) == (role.id, "Writer", 2, 3)
    assert own.total_cost == Decimal("1.4")
    assert [replace(record, tasks=()) for record in own.models] == [
        ModelRecord("openai/own", Tier.LOCAL, 2, 0, Decimal("0.2"), 4.0),
        ModelRecord("nobody/knows", None, 0, 1, Decimal(0), 10.0),
        ModelRecord("openai/gpt-4o-mini", Tier.STANDARD, 0, 1, Decimal(1), 10.0),
    ]
    assert own.models[0].tasks == [TaskRecord(task.id, 2, 0, Decimal("0.4"))]


async def test_what_a_model_did_is_told_of_each_task(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database)
    other = Task(DEFAULT_TENANT, team.id, "Check", "Check it.", "A text.", role_id=role.id, position=1)
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.tasks.add(other)
        await unit.commit()
    easy, hard, own = Did(role.id, task.id, cost="0.1"), Did(role.id, other.id, cost="0.3", seconds=40), Did(role.id)
    await past_runs(database.pool, team.id, 2, easy, hard, own)
    await a_past_run(database.pool, team.id, failed(hard))

    [record] = (await histories.of_team(DEFAULT_TENANT, team.id)).roles[0].models

    assert (record.completed, record.failed, record.mean_cost) == (6, 1, Decimal("0.185714285714"))
    assert record.mean_seconds == pytest.approx((10 * 4 + 40 * 3) / 7)
    assert {each.task_id: (each.completed, each.failed, each.cost) for each in record.tasks} == {
        task.id: (2, 0, Decimal("0.2")),
        other.id: (2, 1, Decimal("0.9")),
        None: (2, 0, Decimal("0.2")),
    }


# ---------------------------------------------------------------- the team as it is


async def test_a_present_team_is_told_by_what_was_kicked_off_since(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database, guardrail="It rhymes.")
    await _unedited_for(database, 30)
    since, did = utc_now() - timedelta(hours=2), Did(role.id, task.id, guardrail_failures=1)
    await a_past_run(database.pool, team.id, did, ended_at=since + timedelta(hours=1), seconds=7200)  # begun before
    last = await a_past_run(database.pool, team.id, did)
    await a_past_run(database.pool, team.id, did, retry_of=last)
    await a_past_run(database.pool, team.id, did, forked_from=last)

    found, ever = [await histories.of_present_team(DEFAULT_TENANT, team.id, each) for each in (since, None)]

    assert (found.completed, found.tasks[0].completed, found.roles[0].completed) == (1, 1, 1)
    assert (found.with_events, len(found.with_events_from), found.tasks[0].guardrail_failures) == (1, 1, 1)
    assert (ever.completed, ever.tasks[0].guardrail_failures) == (2, 2)
    assert (await histories.of_team(DEFAULT_TENANT, team.id, since)).completed == 4  # whoever ended since then


async def test_a_task_of_a_present_team_is_told_by_what_it_did_since_it_was_edited(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database, guardrail="It rhymes.")
    await _unedited_for(database, 1)
    did = Did(role.id, task.id, guardrail_failures=1)
    await a_past_run(database.pool, team.id, did, ended_at=utc_now() - timedelta(days=2))
    await a_past_run(database.pool, team.id, did)

    found = await histories.of_present_team(DEFAULT_TENANT, team.id)
    every = await histories.of_team(DEFAULT_TENANT, team.id)

    assert (found.completed, found.tasks[0].completed, found.tasks[0].guardrail_failures) == (2, 1, 1)
    assert (every.completed, every.tasks[0].completed, every.tasks[0].guardrail_failures) == (2, 2, 2)


async def _unedited_for(database: Database, days: int) -> None:
    await database.pool.execute("UPDATE task SET updated_at = updated_at - make_interval(days => $1)", days)


async def test_a_history_is_planned_for_what_it_is_of_however_often_it_was_read(database: Database) -> None:
    team, role, task = await a_team(database, guardrail="It rhymes.", process=Process.HIERARCHICAL)
    await past_runs(database.pool, team.id, 2, Did(role.id, task.id))
    async with database.pool.acquire() as connection:
        histories = SqlHistories(_Pool(connection))  # type: ignore[arg-type]  # one connection that stays the same

        for _ in range(8):
            await histories.of_team(DEFAULT_TENANT, team.id)

        [(generic, custom)] = await connection.fetch(
            "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE statement"
            " LIKE ANY (ARRAY['%WITH looked AS%', '%asked AS MATERIALIZED%']) AND statement NOT LIKE '%pg_prepared%'"
        )
    assert (generic, custom) == (0, 3 * 8)


async def test_executions_that_did_a_part_alone_measure_nothing(database: Database) -> None:
    team, role, task = await a_team(database)
    did = Did(role.id, task.id, cost="0.50")
    first = await a_past_run(database.pool, team.id, did, seconds=100)
    part = replace(did, cost="0.01")
    await a_past_run(database.pool, team.id, part, seconds=1, retry_of=first)
    await a_past_run(database.pool, team.id, part, seconds=1, forked_from=first)
    await a_past_run(database.pool, team.id, part, seconds=1, cached_from=first)
    trial = Trial(team.id, utc_now())

    found = (await SqlReader(database.pool).trials(DEFAULT_TENANT, [trial]))[trial]

    assert found == TrialFigures(before=Figures(1, 0, Decimal("0.5"), 100.0))


async def test_a_role_of_a_led_team_tells_how_often_it_handed_work_on(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database, process=Process.HIERARCHICAL)
    await a_past_run(database.pool, team.id, Did(role.id, task.id, delegations=2))
    await a_past_run(database.pool, team.id, Did(role.id, task.id, delegations=1))

    [own] = (await histories.of_team(DEFAULT_TENANT, team.id)).roles

    assert own.delegated == 3


async def test_what_retention_emptied_counts_but_tells_of_no_events(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database)
    await a_past_run(database.pool, team.id, Did(role.id, task.id), archived_at=utc_now())
    await a_past_run(database.pool, team.id, Did(role.id, task.id))

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert (found.completed, found.with_events) == (2, 1)


async def test_parts_that_are_gone_are_left_out_and_those_that_did_nothing_are_there(
    database: Database, histories: SqlHistories
) -> None:
    team, role, task = await a_team(database)
    new = Task(DEFAULT_TENANT, team.id, "New", "Do it.", "Done.", position=1)
    idle = Role(DEFAULT_TENANT, team.id, "Idle", position=1)
    await a_past_run(database.pool, team.id, Did(role.id, task.id))
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.tasks.add(new)
        await unit.roles.add(idle)
        await unit.tasks.update(replace(task, archived_at=utc_now()))
        await unit.commit()

    found = await histories.of_team(DEFAULT_TENANT, team.id)

    assert [(each.name, each.finished, each.seconds) for each in found.tasks] == [("New", 0, None)]
    assert [(each.title, each.completed, len(each.models)) for each in found.roles] == [
        ("Writer", 1, 1),
        ("Idle", 0, 0),
    ]


async def test_another_tenant_has_no_part_in_it(database: Database, histories: SqlHistories) -> None:
    team, role, task = await a_team(database, "writing")
    await a_past_run(database.pool, team.id, Did(role.id, task.id))

    assert await histories.of_team(STRANGER, team.id) == TeamHistory(team.id)
    assert await histories.of_similar(STRANGER, ["writing"]) == SimilarHistory()
    assert await histories.skill_outcomes(STRANGER) == []


async def test_another_tenant_measures_nothing_of_it(database: Database) -> None:
    team, role, task = await a_team(database)
    await past_runs(database.pool, team.id, 2, Did(role.id, task.id))
    trial, reader = Trial(team.id, utc_now()), SqlReader(database.pool)

    own, strange = [await reader.trials(tenant, [trial]) for tenant in (DEFAULT_TENANT, STRANGER)]

    assert own[trial].before.completed == 2
    assert strange == {trial: TrialFigures()}


async def test_a_history_is_a_fixed_number_of_statements(database: Database) -> None:
    team, role, task = await a_team(database, guardrail="It rhymes.", process=Process.HIERARCHICAL)
    counts = []
    for _ in range(3):
        await past_runs(database.pool, team.id, 2, Did(role.id, task.id, delegations=1, guardrail_failures=1))
        async with database.pool.acquire() as connection:
            counting = _Counting(connection)
            await SqlHistories(_Pool(counting)).of_team(DEFAULT_TENANT, team.id)  # type: ignore[arg-type]
        counts.append(counting.count)

    assert counts == [5, 5, 5]


class _Pool:
    """A pool of one connection."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self.connection


class _Counting:
    """A connection that counts what is fetched."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.count = 0

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        self.count += 1
        return await self.connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        self.count += 1
        return await self.connection.fetchrow(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


# ---------------------------------------------------------------- other teams


async def test_teams_with_half_of_the_skills_are_similar(database: Database, histories: SqlHistories) -> None:
    own, own_role, _ = await a_team(database, "Writing", "Research")
    half, half_role, _ = await a_team(database, "writing")
    less, less_role, _ = await a_team(database, "cooking")
    await past_runs(database.pool, own.id, 4, Did(own_role.id))
    await past_runs(database.pool, half.id, 2, Did(half_role.id))
    await past_runs(database.pool, half.id, 1, failed(Did(half_role.id)))
    await past_runs(database.pool, less.id, 1, Did(less_role.id))

    found = await histories.of_similar(DEFAULT_TENANT, ["WRITING", "research"], without=own.id)

    assert found == SimilarHistory(teams=1, completed=2, failed=1)
    assert (await histories.of_similar(DEFAULT_TENANT, ["writing", "research"])).completed == 6
    assert await histories.of_similar(DEFAULT_TENANT, ["writing", "b", "c"]) == SimilarHistory()
    assert await histories.of_similar(DEFAULT_TENANT, []) == SimilarHistory()


async def test_a_skill_is_told_by_the_teams_that_were_accepted_with_it(
    database: Database, histories: SqlHistories
) -> None:
    team, role, _ = await a_team(database, "writing", "research")
    other, other_role, _ = await a_team(database, "writing")
    unaccepted, unaccepted_role, _ = await a_team(database, "writing")
    await _accepted(database, team, rating=5)
    await _accepted(database, other, rating=2)
    await past_runs(database.pool, team.id, 3, Did(role.id))
    await a_past_run(database.pool, team.id, Did(role.id), ended_at=utc_now() - timedelta(days=30))  # before
    await past_runs(database.pool, other.id, 1, failed(Did(other_role.id)))
    await past_runs(database.pool, unaccepted.id, 1, Did(unaccepted_role.id))

    found = await histories.skill_outcomes(DEFAULT_TENANT)

    assert found == [SkillOutcome("research", 1, 3, 0, 5.0), SkillOutcome("writing", 2, 3, 1, 3.5)]


async def _accepted(database: Database, team: Team, rating: int) -> None:
    decided = utc_now() - timedelta(days=1)
    made = Generation(
        DEFAULT_TENANT,
        ProjectId(team.project_id),
        "Write something.",
        {},
        Fallback.ALLOWED,
        status=GenerationStatus.ACCEPTED,
        accepted_team_id=TeamId(team.id),
        rating=rating,
        decided_at=decided,
        finished_at=decided,
    )
    async with SqlUnitsOfWork(database.engine)(DEFAULT_TENANT) as unit:
        await unit.generations.add(made)
        await unit.commit()
