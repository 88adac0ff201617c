"""Who is acting, and from where: what the audit and the log lines say of a request."""

import secrets
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from domain.model.identity import PrincipalId


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from; `address` and `user_agent` are None where the client does not say.

    `request_id` is the client's own where it sent a sound one, else made here.
    """

    request_id: str
    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """A mutation under way: its name in the schema, and who asked for it; None while there is no login."""

    operation: str
    principal_id: PrincipalId | None = None


origin: Final[ContextVar[Origin | None]] = ContextVar("origin", default=None)
"""Where the request that is being answered came from; None outside of one, in a worker for instance."""

acting: Final[ContextVar[Act | None]] = ContextVar("acting", default=None)
"""The mutation that is being carried out; None outside of one: what workers do is told by events, not by the audit."""


def new_fault_id() -> str:
    """The correlation id of one unexpected error: a client may send the same request id twice, and a websocket does."""
    came = origin.get()
    return f"{came.request_id}-{secrets.token_hex(4)}" if came else uuid.uuid4().hex
