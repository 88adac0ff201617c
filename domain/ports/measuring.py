"""What a worker counts for its operator; never what a tenant is billed by: that is the ledger."""

from typing import Protocol

from domain.model.ledger import LedgerEntry
from domain.ports.runs import Change


class Measuring(Protocol):
    """Told after each commit. It takes microseconds and never raises."""

    def committed(self, change: Change, *, is_accepted: bool) -> None:
        """The change was written; of one that was refused, its ledger entries alone."""
        ...

    def booked(self, entry: LedgerEntry) -> None:
        """A model call that no change of a run holds was booked: one of a generation."""
        ...


class Unmeasured:
    """Counts nothing."""

    def committed(self, change: Change, *, is_accepted: bool) -> None: ...

    def booked(self, entry: LedgerEntry) -> None: ...


UNMEASURED: Measuring = Unmeasured()
