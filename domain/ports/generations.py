"""Storage of generations: as mutations need it, and as the workers that carry them out do."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from domain.model.generation import Generation, GenerationStatus
from domain.model.identity import BatchId, GenerationId, ProjectId, TeamId, TenantId
from domain.model.journal import Journal, JournalEntry
from domain.model.ledger import Charge, LedgerEntry
from domain.model.routing import Route
from domain.ports.calls import Signals


class Generations(Protocol):
    """Generations as mutations need them."""

    async def get(self, identifier: UUID) -> Generation:
        """The generation; raises NotFound."""
        ...

    async def lock(self, identifier: UUID) -> Generation:
        """The generation, locked until the end of the unit of work; raises NotFound."""
        ...

    async def add(self, *generations: Generation) -> None:
        """Insert PENDING ones; workers find them once that is committed. Raises NotFound for their project or team."""
        ...

    async def working(self, most: int) -> int:
        """How many somebody works on, or will; no more than `most` are counted."""
        ...

    async def of_batch(self, batch_id: BatchId) -> Sequence[Generation]:
        """The generations of a batch in the order of their ids: at most `MOST_OBJECTIVES`; none for an unknown one."""
        ...

    async def save(self, generation: Generation) -> None:
        """Write a locked one, its `sequence` one higher; who worked on it writes nothing any more when it is over."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationOwnership:
    """Which claim of which generation: every write of whoever works on it is conditional on its epoch."""

    tenant_id: TenantId
    project_id: ProjectId
    generation_id: GenerationId
    epoch: int
    team_id: TeamId | None = None

    @property
    def charge(self) -> Charge:
        """Who pays for its calls."""
        return Charge(
            self.tenant_id, self.project_id, self.epoch, team_id=self.team_id, generation_id=self.generation_id
        )


@dataclass(slots=True)
class ClaimedGeneration:
    """A generation that a worker took; `calls` are the model calls that earlier owners of it finished.

    `http_attempts` counts, for each call by its number, the HTTP attempts that they made.
    """

    generation: Generation
    ownership: GenerationOwnership
    calls: Sequence[JournalEntry] = ()
    http_attempts: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class GenerationWork:
    """What a model call of a generation is made with; see `domain.ports.calls.CallWork`."""

    ownership: GenerationOwnership
    route: Route
    journal: Journal = field(default_factory=Journal)
    signals: Signals = field(default_factory=Signals)

    @property
    def charge(self) -> Charge:
        return self.ownership.charge


class GenerationStore(Protocol):
    """Generations of all tenants, as workers need them. All raise Unavailable while the database does not answer."""

    async def claim(
        self, worker_id: str, places: int, lease_seconds: float, *, takes_over: bool = True
    ) -> Sequence[ClaimedGeneration]:
        """Take at most so many that wait or, with `takes_over`, whose owner let his lease end, each under a new epoch.

        Tenants in turn, the oldest first, and at most `AT_ONCE` of a batch over all workers.
        """
        ...

    async def renew(self, owned: Sequence[GenerationOwnership], lease_seconds: float) -> Collection[GenerationId]:
        """Extend the leases; those that are still ours and wanted. The others were taken over, or cancelled."""
        ...

    async def save(self, ownership: GenerationOwnership, generation: Generation, expected: GenerationStatus) -> bool:
        """Write the generation, its `sequence` one higher than what is stored, if the epoch and status still hold."""
        ...

    async def settle(
        self, ownership: GenerationOwnership, entry: LedgerEntry, call: JournalEntry | None = None
    ) -> bool:
        """Book a call, and keep its answer; False when the claim is gone: then it is booked all the same."""
        ...

    async def release(self, owned: Sequence[GenerationOwnership]) -> None:
        """Give them back: somebody else takes them at once."""
        ...
