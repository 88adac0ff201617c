"""What surrounds a model call: money, limits, the catalogue, secrets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, Protocol

from domain.model.budget import Limits, Shortfall
from domain.model.identity import LedgerEntryId, TenantId, ToolId
from domain.model.ledger import Charge
from domain.model.routing import Offer


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call that is about to be made may cost, and whose limits it meets.

    `id` becomes that of its ledger entry. `amount` is the worst case in dollars, `tokens` the most tokens it can take
    of a provider's limit. Not booked by `lifetime_seconds`, it counts as lost.
    """

    id: LedgerEntryId
    charge: Charge
    model: str
    provider: str
    call: int
    call_attempt: int
    amount: Decimal
    tokens: int
    credential: str
    limits: Limits
    routing: Mapping[str, Any]
    lifetime_seconds: float


class Verdict(Enum):
    """What became of a reservation that was asked for."""

    GRANTED = "GRANTED"
    COOLING_DOWN = "COOLING_DOWN"
    RATE_LIMITED = "RATE_LIMITED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    OWNERSHIP_LOST = "OWNERSHIP_LOST"


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict, with the seconds to wait (COOLING_DOWN, RATE_LIMITED) or what was missing (BUDGET_EXCEEDED)."""

    verdict: Verdict
    wait_seconds: float = 0.0
    shortfall: Shortfall | None = None


class CallBudgets(Protocol):
    """Money and providers' limits before a call; `RunStore.commit` books what became of it and releases the rest."""

    async def reserve(self, reservation: Reservation) -> Ruling:
        """Reserve in every budget of the call, or in none; a committed row when GRANTED. Raises Unavailable.

        Asking again for what is granted already is GRANTED and changes nothing.
        """
        ...

    async def release(self, reservation: Reservation) -> None:
        """Undo a reservation whose call was not made; nothing happens when there is none, or it is booked.

        Never raises for a broken store: then it counts as lost, in time.
        """
        ...

    async def cool_down(self, credential: str, model: str, seconds: float, reason: str) -> None:
        """Let no process call the model with this credential for so long; a longer cool-down stays. Never raises."""
        ...


class ModelCatalogue(Protocol):
    """The models of a tenant as a worker can reach them now."""

    async def offers(self, tenant_id: TenantId, named: str | None = None) -> Sequence[Offer]:
        """Every effective entry, usable or not, by name; and one for the name, should no entry have it.

        Raises Unavailable.
        """
        ...


class Vault(Protocol):
    """Encrypts secrets; only who has the deployment's key reads them."""

    def lock(self, tenant_id: TenantId, subject: str, secret: str) -> bytes:
        """Encrypt, bound to its tenant and subject. Raises Unavailable when the deployment has no key."""
        ...

    def unlock(self, tenant_id: TenantId, subject: str, ciphertext: bytes) -> str:
        """Decrypt. Raises Unavailable when it cannot be read: no key, another key, or another subject."""
        ...


@dataclass(frozen=True, slots=True)
class ToolSecret:
    """What goes into the header `header` of requests to `url`, and to nowhere else."""

    header: str
    secret: str = field(repr=False)
    url: str


class ToolSecrets(Protocol):
    """The decrypted credentials of tools, for workers alone."""

    async def of(self, tenant_id: TenantId, tool_ids: Sequence[ToolId]) -> Mapping[ToolId, ToolSecret]:
        """The secrets of those that have one and are in use; `url` is the tool's present one.

        Raises Unavailable.
        """
        ...
