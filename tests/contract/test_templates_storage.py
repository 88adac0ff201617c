"""Templates on a real database: what is stored, who is locked out, and what counts for which template."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from domain.errors import NameTaken, NotFound, StaleVersion
from domain.model.approval import Approval, ApprovalKind, ApprovalStatus
from domain.model.execution import Execution, ExecutionStatus, TaskExecution, TaskExecutionStatus
from domain.model.generation import Generation, GenerationStatus
from domain.model.identity import (
    DEFAULT_TENANT,
    GenerationId,
    RevisionId,
    TeamId,
    TemplateId,
    TenantId,
    new_id,
    utc_now,
)
from domain.model.page import PageRequest
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import AnalyticsReport, TeamOrigin, Template, TemplateUse, TemplateVersion, VersionRecord
from domain.ports import Reader, UnitsOfWork
from persistence.engine import Database
from persistence.mapping import values_of
from persistence.reader import SqlReader
from persistence.tables import TABLES
from persistence.unit_of_work import SqlUnitsOfWork

OTHER_TENANT = TenantId(UUID(int=2))
BEGAN = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


@pytest.fixture
def units(database: Database) -> UnitsOfWork:
    return SqlUnitsOfWork(database.engine)


@pytest.fixture
def reader(database: Database) -> Reader:
    return SqlReader(database.pool)


async def insert(database: Database, *things: Any) -> None:
    """Rows as they are, of whatever kind."""
    async with database.engine.begin() as connection:
        for thing in things:
            await connection.execute(TABLES[type(thing)].insert().values(values_of(thing)))


async def a_template(units: UnitsOfWork, name: str = "Mine", **values: Any) -> Template:
    template = Template(DEFAULT_TENANT, name, **values)
    async with units(DEFAULT_TENANT) as unit:
        await unit.templates.add(template)
        await unit.templates.add_version(TemplateVersion(DEFAULT_TENANT, template.id, 1, {"a": [1, "x"]}))
        await unit.commit()
    return template


class Made:
    """A team that runs, by the hour from `BEGAN` on."""

    def __init__(self, database: Database, team: Team, role: Role, task: Task) -> None:
        self.database = database
        self.team = team
        self.role = role
        self.task = task

    @classmethod
    async def team_of(cls, database: Database, name: str = "Team") -> "Made":
        project = Project(DEFAULT_TENANT, f"Project of {name}")
        team = Team(DEFAULT_TENANT, project.id, name)
        role = Role(DEFAULT_TENANT, team.id, "Writer")
        task = Task(DEFAULT_TENANT, team.id, "Write", "Write it.", "A text", role_id=role.id)
        await insert(database, project, team, role, task)
        return cls(database, team, role, task)

    async def used(self, template: UUID, hour: float, number: int = 1, *, of_task: bool = False, **values: Any) -> None:
        task_id = self.task.id if of_task else None
        use = TemplateUse(DEFAULT_TENANT, TemplateId(template), number, self.team.id, task_id, **values)
        await insert(self.database, replace(use, created_at=BEGAN + timedelta(hours=hour)))

    async def ran(
        self,
        hour: float,
        status: ExecutionStatus = ExecutionStatus.COMPLETED,
        *,
        cost: str | None = "0.5",
        seconds: float = 10,
        task: TaskExecutionStatus = TaskExecutionStatus.COMPLETED,
        **values: Any,
    ) -> Execution:
        """An execution with one task execution, of the team's task; both took as long and cost as much."""
        began = BEGAN + timedelta(hours=hour)
        ended = None if status is ExecutionStatus.RUNNING else began + timedelta(seconds=seconds)
        execution = Execution(
            DEFAULT_TENANT,
            self.team.project_id,
            self.team.id,
            await self._revision(),
            {},
            5,
            1800,
            600,
            status=status,
            created_at=began,
            started_at=began,
            finished_at=ended,
            **values,
        )
        part = TaskExecution(
            DEFAULT_TENANT,
            execution.id,
            0,
            "Write",
            "Write it.",
            "A text",
            self.role.id,
            "Writer",
            task_id=self.task.id,
            status=task,
            started_at=began,
            finished_at=ended,
        )
        await insert(self.database, execution, part)
        if cost is not None:
            for scope, identifier in ((3, execution.id), (4, part.id)):
                await self.database.pool.execute(
                    "INSERT INTO budget_account (tenant_id, scope, scope_id, period, spent)"
                    " VALUES ($1, $2, $3, DATE '1970-01-01', $4)",
                    DEFAULT_TENANT,
                    scope,
                    identifier,
                    Decimal(cost),
                )
        return execution

    async def asked(self, execution: Execution, after: float, until: float | None) -> None:
        """A human was asked about its task so many seconds after it began; decided as long after that, or never."""
        began = execution.started_at or BEGAN
        part = await self.database.pool.fetchval("SELECT id FROM task_execution WHERE execution_id = $1", execution.id)
        asked = Approval(
            DEFAULT_TENANT,
            self.team.project_id,
            execution.id,
            part,
            ApprovalKind.TASK,
            "Good?",
            1,
            status=ApprovalStatus.CANCELLED if until is None else ApprovalStatus.APPROVED,
            decided_at=None if until is None else began + timedelta(seconds=until),
            created_at=began + timedelta(seconds=after),
        )
        await insert(self.database, asked)

    async def _revision(self) -> RevisionId:
        identifier = new_id()
        await self.database.pool.execute(
            "INSERT INTO team_revision (tenant_id, id, team_id, number, content, content_hash, created_at)"
            " SELECT $1, $2, $3, count(*) + 1, '{}', $4, now() FROM team_revision WHERE team_id = $3",
            DEFAULT_TENANT,
            identifier,
            self.team.id,
            str(identifier),
        )
        return RevisionId(identifier)

    async def generated(self, hour: float, *, rating: int | None = None, **values: Any) -> GenerationId:
        """A generation that was accepted for the team."""
        moment = BEGAN + timedelta(hours=hour)
        generation = Generation(
            DEFAULT_TENANT,
            self.team.project_id,
            "Objective",
            {},
            status=GenerationStatus.ACCEPTED,
            accepted_team_id=self.team.id,
            rating=rating,
            created_at=moment,
            decided_at=moment,
            **values,
        )
        await insert(self.database, generation)
        return generation.id


async def report(reader: Reader, template: UUID) -> AnalyticsReport:
    return (await reader.template_reports(DEFAULT_TENANT, [template]))[template]


# ---------------------------------------------------------------- templates and versions


async def test_what_is_stored_comes_back_as_it_was(units: UnitsOfWork, reader: Reader) -> None:
    template = await a_template(units, description="For soup", domain="food", tags=["a", "b"], latest=1)

    async with units(DEFAULT_TENANT) as unit:
        assert await unit.templates.get(template.id) == template
        assert await unit.templates.lock(template.id) == template
        assert await unit.templates.lock_named("Mine") == template
        assert await unit.templates.lock_named("Other") is None
        assert await unit.templates.count() == 1
        version = await unit.templates.find_version(template.id, 1)
        assert await unit.templates.find_version(template.id, 2) is None
    assert version
    assert (version.content, version.number) == ({"a": [1, "x"]}, 1)
    keys = [(template.id, 1), (template.id, 2)]
    assert await reader.template_versions(DEFAULT_TENANT, keys) == {keys[0]: version}
    assert await reader.template_version_records(DEFAULT_TENANT, keys) == {
        keys[0]: VersionRecord(template.id, 1, version.created_at)
    }


async def test_a_name_is_taken_among_those_in_use_alone(units: UnitsOfWork) -> None:
    template = await a_template(units)
    with pytest.raises(NameTaken):
        await a_template(units)
    async with units(DEFAULT_TENANT) as unit:
        await unit.templates.update(replace(template, archived_at=utc_now()))
        await unit.commit()

    other = await a_template(units)

    async with units(DEFAULT_TENANT) as unit:
        assert await unit.templates.lock_named("Mine") == other
        assert await unit.templates.count() == 1


async def test_an_update_of_an_older_version_is_refused(units: UnitsOfWork) -> None:
    template = await a_template(units)
    async with units(DEFAULT_TENANT) as unit:
        saved = await unit.templates.update(replace(template, latest=2))
        await unit.commit()

    async with units(DEFAULT_TENANT) as unit:
        with pytest.raises(StaleVersion):
            await unit.templates.update(template)

    assert (saved.version, saved.latest) == (2, 2)


async def test_a_locked_template_is_waited_for(units: UnitsOfWork) -> None:
    template = await a_template(units)

    async def later() -> int:
        async with units(DEFAULT_TENANT) as second:
            return (await second.templates.lock(template.id)).latest

    async with units(DEFAULT_TENANT) as unit:
        await unit.templates.lock(template.id)
        waiting = asyncio.create_task(later())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await unit.templates.update(replace(template, latest=2))
        await unit.commit()

    assert await waiting == 2


async def test_archived_ones_are_listed_apart(units: UnitsOfWork, reader: Reader) -> None:
    kept = await a_template(units, "Kept")
    gone = await a_template(units, "Gone", archived_at=utc_now())

    assert await reader.own_templates(DEFAULT_TENANT, is_archived=False) == [kept]
    assert await reader.own_templates(DEFAULT_TENANT, is_archived=True) == [gone]


async def test_nothing_of_another_tenant_is_found(units: UnitsOfWork, reader: Reader, database: Database) -> None:
    template = await a_template(units)
    made = await Made.team_of(database)
    await made.used(template.id, 0)
    page = PageRequest(with_total=True)

    assert await reader.own_templates(OTHER_TENANT, is_archived=False) == []
    assert await reader.template_versions(OTHER_TENANT, [(template.id, 1)]) == {}
    assert await reader.template_version_records(OTHER_TENANT, [(template.id, 1)]) == {}
    found = (await reader.template_version_pages(OTHER_TENANT, [template.id], page))[template.id]
    assert (found.items, found.total) == ([], 0)
    assert await reader.template_reports(OTHER_TENANT) == {}
    assert await reader.team_origins(OTHER_TENANT, [made.team.id]) == {}
    async with units(OTHER_TENANT) as unit:
        assert await unit.templates.lock_named("Mine") is None
        assert await unit.templates.find_version(template.id, 1) is None
        for ask in (unit.templates.get, unit.templates.lock):
            with pytest.raises(NotFound):
                await ask(template.id)


# ---------------------------------------------------------------- what counts


async def test_ended_executions_since_the_use_count_and_no_others(reader: Reader, database: Database) -> None:
    template, made = new_id(), await Made.team_of(database)
    await made.ran(-1, ExecutionStatus.FAILED)  # before it was made so
    await made.used(template, 0)
    first = await made.ran(1, cost="0.5", seconds=10)
    await made.ran(2, cost=None, seconds=20)  # no model was called
    await made.ran(3, ExecutionStatus.FAILED, cost="9", seconds=99)
    await made.ran(4, ExecutionStatus.CANCELLED)
    await made.ran(5, ExecutionStatus.RUNNING)
    await made.ran(6, cached_from=first.id)

    figures = (await report(reader, template)).total

    assert (figures.uses, figures.completed, figures.failed) == (1, 2, 1)
    assert (figures.mean_amount, figures.mean_duration_seconds) == (Decimal("0.25"), 15.0)
    assert figures.success_rate == pytest.approx(2 / 3)
    assert (figures.last_used_at, figures.mean_rating) == (BEGAN, None)


async def test_uses_are_summed_up_by_version_the_newest_first(reader: Reader, database: Database) -> None:
    template = new_id()
    one, two = await Made.team_of(database, "One"), await Made.team_of(database, "Two")
    await one.used(template, 0, number=1)
    await two.used(template, 1, number=2)
    await one.ran(2)
    await two.ran(3, ExecutionStatus.FAILED)

    found = await report(reader, template)

    assert [(each.number, each.figures.completed, each.figures.failed) for each in found.versions] == [
        (2, 0, 1),
        (1, 1, 0),
    ]
    assert (found.total.uses, found.total.last_used_at) == (2, BEGAN + timedelta(hours=1))
    assert found.versions[0].figures.mean_cost is None


async def test_a_team_that_a_later_generation_changed_counts_for_the_earlier_template_until_then(
    reader: Reader, database: Database
) -> None:
    before, after, made = new_id(), new_id(), await Made.team_of(database)
    await made.used(before, 0)
    await made.ran(1)
    generation_id = await made.generated(2)
    await made.used(after, 2, generation_id=generation_id)
    await made.ran(3, ExecutionStatus.FAILED)

    reports = await reader.template_reports(DEFAULT_TENANT)

    assert (reports[before].total.completed, reports[before].total.failed) == (1, 0)
    assert (reports[after].total.completed, reports[after].total.failed) == (0, 1)


async def test_a_template_counts_no_more_once_a_generation_without_one_changed_the_team(
    reader: Reader, database: Database
) -> None:
    of_team, of_task, made = new_id(), new_id(), await Made.team_of(database)
    await made.used(of_team, 0)
    await made.used(of_task, 0, of_task=True)
    await made.ran(1)
    await made.generated(2)
    await made.ran(3, ExecutionStatus.FAILED, task=TaskExecutionStatus.FAILED)

    reports = await reader.template_reports(DEFAULT_TENANT)

    for figures in (reports[of_team].total, reports[of_task].total):
        assert (figures.uses, figures.completed, figures.failed) == (1, 1, 0)


async def test_a_generation_that_used_several_templates_counts_for_each_with_its_rating(
    reader: Reader, database: Database
) -> None:
    one, two, made = new_id(), new_id(), await Made.team_of(database)
    other = await Made.team_of(database, "Other")
    generation_id = await made.generated(0, rating=5)
    await made.used(one, 0, generation_id=generation_id)
    await made.used(two, 0.001, generation_id=generation_id)
    await made.ran(1)
    await other.used(one, 0, generation_id=await other.generated(0, rating=2))

    reports = await reader.template_reports(DEFAULT_TENANT, [one, two])

    assert (reports[one].total.completed, reports[two].total.completed) == (1, 1)
    assert (reports[one].total.mean_rating, reports[two].total.mean_rating) == (3.5, 5.0)


async def test_of_a_task_its_own_task_executions_count(reader: Reader, database: Database) -> None:
    template, made = new_id(), await Made.team_of(database)
    await made.used(template, 0, of_task=True)
    await made.ran(1, ExecutionStatus.FAILED, cost="0.5", seconds=10)
    await made.ran(2, task=TaskExecutionStatus.FAILED)
    await made.ran(3, task=TaskExecutionStatus.REUSED)
    await made.ran(4, task=TaskExecutionStatus.SKIPPED)
    await made.used(new_id(), 5, of_task=True)  # another task of the team does not end it
    await made.ran(6, cost="1.5", seconds=30)

    figures = (await report(reader, template)).total

    assert (figures.completed, figures.failed) == (2, 1)
    assert (figures.mean_amount, figures.mean_duration_seconds) == (Decimal(1), 20.0)


async def test_pauses_and_the_time_in_which_a_human_was_asked_do_not_count(reader: Reader, database: Database) -> None:
    of_team, of_task, made = new_id(), new_id(), await Made.team_of(database)
    await made.used(of_team, 0)
    await made.used(of_task, 0, of_task=True)
    await made.asked(await made.ran(1, seconds=3600, waited_seconds=3590), 10, 3590)
    await made.ran(2, seconds=30)
    await made.asked(await made.ran(3, seconds=50), 20, None)  # closed with its execution

    reports = await reader.template_reports(DEFAULT_TENANT)

    assert reports[of_team].total.mean_duration_seconds == 30.0  # 10, 30 and 50
    assert reports[of_task].total.mean_duration_seconds == pytest.approx((20 + 30 + 20) / 3)


async def test_how_often_and_when_last_is_told_without_all_the_rest(reader: Reader, database: Database) -> None:
    often, once = new_id(), new_id()
    made = await Made.team_of(database)
    await made.used(often, 0)
    await made.used(often, 2, number=2)
    await made.used(once, 1, of_task=True)

    uses = await reader.template_uses(DEFAULT_TENANT)

    assert {key: (it.uses, it.last_used_at) for key, it in uses.items()} == {
        often: (2, BEGAN + timedelta(hours=2)),
        once: (1, BEGAN + timedelta(hours=1)),
    }
    assert await reader.template_uses(TenantId(new_id())) == {}


async def test_templates_that_were_never_used_have_no_report(reader: Reader, units: UnitsOfWork) -> None:
    template = await a_template(units)

    assert await reader.template_reports(DEFAULT_TENANT, [template.id]) == {}
    assert await reader.template_reports(DEFAULT_TENANT) == {}


# ---------------------------------------------------------------- origins


async def test_a_team_comes_of_its_last_template_and_of_several_the_first(reader: Reader, database: Database) -> None:
    old, first, second, made = new_id(), new_id(), new_id(), await Made.team_of(database)
    await made.used(old, 0, number=3)
    await made.used(new_id(), 4, of_task=True)
    assert await origin(reader, made.team.id) == TeamOrigin(made.team.id, old, 3, None)
    generation_id = await made.generated(2)
    await made.used(first, 2, generation_id=generation_id)
    await made.used(second, 2.001, generation_id=generation_id)

    assert await origin(reader, made.team.id) == TeamOrigin(made.team.id, first, 1, generation_id)


async def test_a_team_may_come_of_a_generation_without_any_template(reader: Reader, database: Database) -> None:
    made, by_hand = await Made.team_of(database), await Made.team_of(database, "By hand")
    await made.generated(1)
    newest = await made.generated(2)

    assert await reader.team_origins(DEFAULT_TENANT, [made.team.id, by_hand.team.id]) == {
        made.team.id: TeamOrigin(made.team.id, None, None, newest)
    }


async def origin(reader: Reader, team_id: TeamId) -> TeamOrigin:
    return (await reader.team_origins(DEFAULT_TENANT, [team_id]))[team_id]
