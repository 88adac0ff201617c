"""A worker's hand on stored generations: it claims them, goes on with them, pays and proposes, as a script says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from domain.model.blueprint import Blueprint, RoleBlueprint, TaskBlueprint, as_document
from domain.model.generation import ComposedBy, Generation, GenerationFailureCode, GenerationStatus
from domain.model.identity import utc_now
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.ports import Hints, generation_topic
from domain.ports.generations import ClaimedGeneration
from persistence.engine import Database
from persistence.generation_store import SqlGenerationStore
from resolvers.node_ids import node_id
from tests.support.graphql import Graph

TO_READY = (
    GenerationStatus.ANALYSING,
    GenerationStatus.COMPOSING,
    GenerationStatus.VALIDATING,
    GenerationStatus.READY,
)


def a_proposal(name: str = "Press office", **values: Any) -> Blueprint:
    """Two roles, and two tasks of which one waits for the other."""
    given: dict[str, Any] = {
        "roles": [RoleBlueprint(title="Writer", skills=["writing"]), RoleBlueprint(title="Editor")],
        "tasks": [
            TaskBlueprint(name="Draft", description="Write about {topic}.", expected_output="A text.", role="Writer"),
            TaskBlueprint(
                name="Edit", description="Improve it.", expected_output="A text.", role="Editor", depends_on=["Draft"]
            ),
        ],
    }
    return Blueprint(name=name, **{**given, **values})


@dataclass
class PlayedComposer:
    """A worker that has one generation."""

    store: SqlGenerationStore
    hints: Hints
    claimed: ClaimedGeneration

    @property
    def generation(self) -> Generation:
        return self.claimed.generation

    @property
    def id(self) -> str:
        return node_id("Generation", self.generation.id)

    async def write(self, status: GenerationStatus, *, hinted: bool = True, **values: Any) -> bool:
        """Whether it was written: whoever lost the generation writes nothing."""
        wanted = replace(self.generation, status=status, **values)
        if wanted.is_over and wanted.finished_at is None:
            wanted.finished_at = utc_now()
        is_written = await self.store.save(self.claimed.ownership, wanted, self.generation.status)
        if is_written:
            self.claimed.generation = wanted
            if hinted:
                await self.hints.publish([generation_topic(wanted.id)])
        return is_written

    async def proposes(self, proposal: Blueprint | None = None, **values: Any) -> None:
        """It goes on to READY with this proposal."""
        made = {"proposal": as_document(proposal or a_proposal()), "composed_by": ComposedBy.RULES}
        for status in TO_READY:
            assert await self.write(status, **({**made, **values} if status is GenerationStatus.READY else {}))

    async def fails(self, code: GenerationFailureCode, message: str, **values: Any) -> None:
        assert await self.write(GenerationStatus.FAILED, failure_code=code, failure_message=message, **values)

    async def pays(self, cost: str, model: str = "openai/gpt-4o-mini", tokens: int = 15) -> None:
        """One call of a model."""
        owner = self.claimed.ownership
        entry = LedgerEntry(
            owner.tenant_id,
            owner.project_id,
            owner.team_id,
            None,
            None,
            None,
            model,
            model.partition("/")[0],
            1,
            CallOutcome.SUCCEEDED,
            prompt_tokens=tokens,
            cost=Decimal(cost),
            generation_id=owner.generation_id,
        )
        assert await self.store.settle(owner, entry)


async def composers(graph: Graph, database: Database) -> Sequence[PlayedComposer]:
    """A worker for each generation that waits, the oldest first."""
    store = SqlGenerationStore(database.pool)
    claimed = await store.claim("played", 100, 60.0)
    found = [PlayedComposer(store, graph.container.hints, each) for each in claimed]
    return sorted(found, key=lambda it: it.generation.id)


async def composer(graph: Graph, database: Database) -> PlayedComposer:
    """A worker for the one generation that waits."""
    [found] = await composers(graph, database)
    return found


async def generate(graph: Graph, project_id: str | None = None, **values: Any) -> str:
    """The id of a new generation, in a new project if neither that nor a team is given."""
    if "teamId" not in values:
        values["projectId"] = project_id or await graph.project()
    given = {"objective": "Tell the press about our new bicycle.", **values}
    payload = await graph.mutate("generateTeam", "generation { id }", **given)
    assert payload["errors"] == [], payload["errors"]
    return str(payload["generation"]["id"])


async def ready(graph: Graph, database: Database, proposal: Blueprint | None = None, **values: Any) -> str:
    """The id of a new generation that is READY with this proposal."""
    identifier = await generate(graph, **values)
    await (await composer(graph, database)).proposes(proposal)
    return identifier
