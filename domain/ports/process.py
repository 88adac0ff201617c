"""What an API process knows of itself."""

from typing import Protocol

from domain.model.resources import ProcessState


class ProcessStatus(Protocol):
    """How the process is doing that answers; asks nobody outside of it, so it may be called as often as you like."""

    def now(self) -> ProcessState: ...
