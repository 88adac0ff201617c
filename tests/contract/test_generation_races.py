"""Who decides about a generation at the same moment as somebody else, or while a worker has it."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import IdempotencyConflict, InvalidTransition, NotFound, TeamChanged
from domain.model.blueprint import Blueprint, ToolBlueprint, as_document
from domain.model.generation import Generation, GenerationStatus
from domain.model.identity import DEFAULT_TENANT, ProjectId, TeamId, TenantId, new_id
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.project import Project
from domain.model.routing import Offer
from domain.model.tool import Tool, ToolKind
from domain.ports import GENERATIONS, generation_topic
from domain.ports.generations import ClaimedGeneration
from domain.services.blueprints import make_team
from domain.services.editing import TOOLS, Editing
from domain.services.generation_decisions import Acceptance, GenerationDecisions
from domain.services.generations import Generations, Target, Terms
from persistence.engine import Database
from persistence.generation_store import SqlGenerationStore
from persistence.unit_of_work import SqlUnitsOfWork
from tests.support.fakes import FakeHints
from tests.support.generations import TO_READY, a_proposal

OBJECTIVE = "Tell the press about our new bicycle."


class NoModels:
    """A catalogue without an entry."""

    async def offers(self, _tenant_id: TenantId, _named: str | None = None) -> Sequence[Offer]:
        return ()


def no_domains() -> Collection[str]:
    return ()


class Scene:
    """The use cases and a worker's store on one database, and a project in it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.units = SqlUnitsOfWork(database.engine)
        self.hints = FakeHints()
        self.generations = Generations(self.units, NoModels(), self.hints, domains=no_domains)
        self.decisions = GenerationDecisions(self.units, self.hints)
        self.store = SqlGenerationStore(database.pool)
        self.project_id = ProjectId(new_id())

    async def begin(self) -> None:
        async with self.units(DEFAULT_TENANT) as unit:
            await unit.projects.add(Project(DEFAULT_TENANT, "Project", id=self.project_id))
            await unit.commit()

    async def team(self) -> TeamId:
        async with self.units(DEFAULT_TENANT) as unit:
            made = await make_team(unit, a_proposal("Old"), self.project_id, None)
            await unit.commit()
        return made.id

    async def ask(self, team_id: TeamId | None = None, key: str | None = None) -> Generation:
        target = Target(team_id=team_id) if team_id else Target(self.project_id)
        return await self.generations.generate(DEFAULT_TENANT, OBJECTIVE, target, Terms(), None, key)

    async def claim(self) -> ClaimedGeneration:
        [claimed] = await self.store.claim("w1", 10, 30)
        return claimed

    async def write(self, claimed: ClaimedGeneration, status: GenerationStatus, **values: Any) -> bool:
        wanted = replace(claimed.generation, status=status, **values)
        expected, is_written = claimed.generation.status, False
        if await self.store.save(claimed.ownership, wanted, expected):
            claimed.generation, is_written = wanted, True
        return is_written

    async def ready(self, name: str = "Press office", team_id: TeamId | None = None) -> Generation:
        await self.ask(team_id)
        claimed = await self.claim()
        for status in TO_READY:
            assert await self.write(claimed, status, proposal=as_document(a_proposal(name)))
        return claimed.generation

    async def accept(self, generation: Generation, key: str | None = None) -> Any:
        return await self.decisions.accept(DEFAULT_TENANT, Acceptance(generation.id, idempotency_key=key))

    async def cancel(self, generation: Generation) -> Generation:
        return await self.generations.cancel(DEFAULT_TENANT, generation.id)

    async def stored(self, generation: Generation) -> Any:
        return await self.database.pool.fetchrow("SELECT * FROM generation WHERE id = $1", generation.id)

    async def count(self, table: str) -> int:
        found: int = await self.database.pool.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - of this module
        return found


@pytest.fixture
async def scene(database: Database) -> Scene:
    made = Scene(database)
    await made.begin()
    return made


async def together(*works: Awaitable[Any]) -> tuple[list[Any], list[BaseException]]:
    """What came of them, and what went wrong."""
    done = await asyncio.gather(*works, return_exceptions=True)
    return (
        [it for it in done if not isinstance(it, BaseException)],
        [it for it in done if isinstance(it, BaseException)],
    )


async def test_each_write_counts_the_changes_whoever_makes_it(scene: Scene) -> None:
    generation = await scene.ready()

    accepted = (await scene.accept(generation)).generation
    rated = await scene.decisions.rate(DEFAULT_TENANT, generation.id, 4)

    assert (generation.sequence, accepted.sequence, rated.sequence) == (5, 6, 7)
    assert (await scene.stored(generation))["sequence"] == 7
    assert scene.hints.published[:2] == [GENERATIONS, generation_topic(generation.id)]
    assert scene.hints.published[2:] == [generation_topic(generation.id)] * 2


async def test_who_loses_a_generation_writes_nothing_but_what_was_paid_is_booked(scene: Scene) -> None:
    generation = await scene.ask()
    claimed = await scene.claim()
    assert await scene.write(claimed, GenerationStatus.ANALYSING)

    cancelled = await scene.cancel(generation)
    owner = claimed.ownership
    entry = LedgerEntry(
        DEFAULT_TENANT,
        owner.project_id,
        None,
        None,
        None,
        None,
        "openai/gpt-4o",
        "openai",
        1,
        CallOutcome.CANCELLED,
        cost=Decimal("0.5"),
        generation_id=generation.id,
    )
    is_kept = await scene.store.settle(owner, entry)
    is_written = await scene.write(claimed, GenerationStatus.COMPOSING)

    row = await scene.stored(generation)
    assert (cancelled.status, is_kept, is_written) == (GenerationStatus.CANCELLED, False, False)
    assert (row["status"], row["calls"], row["locked_until"], row["worker_id"]) == ("CANCELLED", [], None, None)
    assert await scene.database.pool.fetchval("SELECT sum(cost) FROM ledger_entry") == Decimal("0.5")
    assert await scene.store.claim("w2", 10, 30) == []


async def test_a_worker_that_finishes_as_somebody_cancels_does_one_of_both(scene: Scene) -> None:
    for _ in range(10):
        generation = await scene.ask()
        claimed = await scene.claim()
        for status in TO_READY[:3]:
            await scene.write(claimed, status)

        [is_written, seen], wrong = await together(
            scene.write(claimed, GenerationStatus.READY, proposal=as_document(a_proposal())), scene.cancel(generation)
        )

        status = (await scene.stored(generation))["status"]
        assert wrong == []
        assert (status, seen.status.value) == (("READY", "READY") if is_written else ("CANCELLED", "CANCELLED"))


async def test_of_all_who_accept_at_once_one_makes_the_team(scene: Scene) -> None:
    generation = await scene.ready()

    done, wrong = await together(*(scene.accept(generation) for _ in range(4)))

    assert len(done) == 1
    assert [type(error) for error in wrong] == [InvalidTransition] * 3
    assert (await scene.count("team"), await scene.count("role")) == (1, 2)


async def test_all_who_accept_with_one_key_are_given_the_same_team(scene: Scene) -> None:
    generation = await scene.ready()

    done, wrong = await together(*(scene.accept(generation, "k") for _ in range(4)))

    assert wrong == []
    assert len({accepted.team.id for accepted in done}) == 1
    assert await scene.count("team") == 1


async def test_who_accepts_as_somebody_rejects_gets_one_of_both(scene: Scene) -> None:
    for number in range(6):
        generation = await scene.ready(f"Team {number}")
        before = await scene.count("team")

        done, wrong = await together(
            scene.accept(generation), scene.decisions.reject(DEFAULT_TENANT, generation.id, "No.")
        )

        status = (await scene.stored(generation))["status"]
        assert (len(done), [type(error) for error in wrong]) == (1, [InvalidTransition])
        assert await scene.count("team") - before == (1 if status == "ACCEPTED" else 0)


async def test_of_two_proposals_for_one_team_that_are_accepted_at_once_one_stands(scene: Scene) -> None:
    team_id = await scene.team()
    one, other = await scene.ready("One", team_id), await scene.ready("Other", team_id)

    done, wrong = await together(scene.accept(one), scene.accept(other))

    assert len(done) == 1
    assert [type(error) for error in wrong] == [TeamChanged]
    statuses = sorted([(await scene.stored(it))["status"] for it in (one, other)])
    assert statuses == ["ACCEPTED", "READY"]
    assert await scene.database.pool.fetchval("SELECT name FROM team") == done[0].team.name


async def test_who_edits_a_team_as_its_proposal_is_accepted_loses_nothing(scene: Scene) -> None:
    for number in range(4):
        async with scene.units(DEFAULT_TENANT) as unit:
            team = await make_team(unit, a_proposal(f"Team {number}"), scene.project_id, None)
            await unit.commit()
        generation = await scene.ready(f"Changed {number}", team.id)

        done, wrong = await together(scene.accept(generation), _renamed(scene, team.id, f"Renamed {number}"))

        name = await scene.database.pool.fetchval("SELECT name FROM team WHERE id = $1", team.id)
        is_accepted = (await scene.stored(generation))["status"] == "ACCEPTED"
        assert (len(done), len(wrong)) == (1, 1)
        assert name == (f"Changed {number}" if is_accepted else f"Renamed {number}")


async def test_who_edits_a_tool_as_a_proposal_gives_it_to_a_role_waits_for_nobody_who_waits_for_him(
    scene: Scene,
) -> None:
    tool = Tool(DEFAULT_TENANT, scene.project_id, "Sums", ToolKind.CALCULATOR)
    async with scene.units(DEFAULT_TENANT) as unit:
        await unit.tools.add(tool)
        await unit.commit()
    edits = Editing(scene.units, TOOLS)
    for number in range(3):
        team, proposed = _with_sums(f"Team {number}", "Writer"), _with_sums(f"Team {number}", "Writer", "Editor")
        async with scene.units(DEFAULT_TENANT) as unit:
            made = await make_team(unit, team, scene.project_id, None)
            await unit.commit()
        await scene.ask(made.id)
        claimed = await scene.claim()
        for status in TO_READY:
            assert await scene.write(claimed, status, proposal=as_document(proposed))

        changes = {"description": f"Adds up, {number}"}
        done, wrong = await together(
            scene.accept(claimed.generation), edits.update(DEFAULT_TENANT, tool.id, number + 1, changes)
        )

        assert done
        assert {type(error) for error in wrong} <= {TeamChanged}  # where the tool was the first


def _with_sums(name: str, *titles: str) -> Blueprint:
    proposal = a_proposal(name)
    roles = [replace(role, tools=["Sums"] if role.title in titles else []) for role in proposal.roles]
    return replace(proposal, roles=roles, tools=[ToolBlueprint(name="Sums", kind=ToolKind.CALCULATOR)])


async def _renamed(scene: Scene, team_id: TeamId, name: str) -> bool:
    """As `updateTeam` does it, under the version that was read before."""
    async with scene.units(DEFAULT_TENANT) as unit:
        await unit.definitions.lock(team_id)
        team = replace(await unit.teams.get(team_id), version=1, name=name)
        await unit.teams.update(team)
        await unit.definitions.mark_changed([team_id])
        await unit.commit()
    return True


@pytest.mark.parametrize("count", [4])
async def test_all_who_ask_with_one_key_are_given_one_generation_or_batch(scene: Scene, count: int) -> None:
    def bulk() -> Awaitable[Any]:
        return scene.generations.bulk(DEFAULT_TENANT, ["a", "", "c"], scene.project_id, Terms(), None, "bulk")

    one, wrong = await together(*(scene.ask(key="one") for _ in range(count)))
    many, wrong_too = await together(*(bulk() for _ in range(count)))

    assert (wrong, wrong_too) == ([], [])
    assert len({generation.id for generation in one}) == 1
    assert len({batch.id for batch in many}) == 1
    made = {tuple(it.generation and it.generation.id for it in batch.results) for batch in many}
    assert len(made) == 1
    assert await scene.count("generation") == 3
    with pytest.raises(IdempotencyConflict):
        await scene.generations.bulk(DEFAULT_TENANT, ["a"], scene.project_id, Terms(), None, "bulk")


async def test_a_batch_keeps_the_order_of_its_objectives(scene: Scene) -> None:
    objectives = [f"objective {number}" for number in range(50)]

    batch = await scene.generations.bulk(DEFAULT_TENANT, objectives, scene.project_id, Terms(), None, "k")
    again = await scene.generations.bulk(DEFAULT_TENANT, objectives, scene.project_id, Terms(), None, "k")

    for each in (batch, again):
        assert [result.generation and result.generation.objective for result in each.results] == objectives
    assert len({result.generation and result.generation.batch_id for result in batch.results}) == 1


async def test_a_team_that_cannot_be_made_leaves_nothing_behind(scene: Scene) -> None:
    generation = await scene.ready()
    broken = replace(a_proposal(), roles=[])  # a task names a role that is not there
    await scene.database.pool.execute("UPDATE generation SET proposal = $1", as_document(broken))

    _, wrong = await together(scene.accept(generation))

    assert len(wrong) == 1
    assert [await scene.count(table) for table in ("team", "role", "task", "template_use")] == [0, 0, 0, 0]
    assert (await scene.stored(generation))["status"] == "READY"


@pytest.mark.parametrize(
    "act",
    [
        lambda scene, it: scene.generations.cancel(DEFAULT_TENANT, it),
        lambda scene, it: scene.decisions.accept(DEFAULT_TENANT, Acceptance(it)),
        lambda scene, it: scene.decisions.reject(DEFAULT_TENANT, it),
        lambda scene, it: scene.decisions.rate(DEFAULT_TENANT, it, 3),
    ],
)
async def test_a_generation_of_another_tenant_is_not_there(
    scene: Scene, act: Callable[[Scene, Any], Awaitable[Any]]
) -> None:
    with pytest.raises(NotFound):
        await act(scene, new_id())
    generation = await scene.ask()
    stranger = TenantId(new_id())
    with pytest.raises(NotFound):
        async with scene.units(stranger) as unit:
            await unit.generations.lock(generation.id)
