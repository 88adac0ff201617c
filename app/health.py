"""Two questions of operators: is the process alive, and can it do its work; the second says what is wrong.

Ready means that this process can accept work: the database is there, at our revision or a later one (an upgrade begins
with `regatta migrate`, and all of us at once would be out of service), and answers. What is slow or missing beside it
is shown as degraded, with status 200 all the same: without a worker a kickoff is accepted and waits in the queue, and
without hints subscriptions lag by a second. Taking the API out of service would help neither.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.migrations import newest_revision
from persistence.workers import SqlWorkers

if TYPE_CHECKING:
    import asyncpg

    from app.broadcast import BroadcastHints
    from app.container import Container

_log = structlog.get_logger(__name__)

CHECK_SECONDS: Final = 1.0
"""How long one check may take; they run at the same time."""

SILENT_WORKER_SECONDS: Final = 15.0
"""Without a heartbeat for so long, a worker does not count."""


class Unwell(Exception):
    """What is wrong, in words that anybody may read."""


@dataclass(frozen=True, slots=True)
class Check:
    """A question with a deadline: `probe` returns what it found, or raises Unwell or anything else."""

    name: str
    probe: Callable[[], Awaitable[str]]
    is_required: bool = True


def standard_checks(pool: "asyncpg.Pool[asyncpg.Record]", hints: "BroadcastHints") -> Sequence[Check]:
    """What an API process needs (database) and what it does better with (hints, a worker)."""
    newest = newest_revision()

    async def database() -> str:
        revision = await pool.fetchval("SELECT version_num FROM alembic_version")
        if revision is None or revision < newest:  # they are numbered, all with as many digits
            raise Unwell(f"at revision {revision}, needed is {newest}: run `regatta migrate`")
        return f"at revision {revision}" + (f"; this process is of {newest}" if revision > newest else "")

    async def hints_flow() -> str:
        if not hints.connected:
            raise Unwell("not connected; subscriptions lag by up to a second")
        return "connected"

    async def worker() -> str:
        if not await SqlWorkers(pool).any_alive(SILENT_WORKER_SECONDS):
            raise Unwell(f"none was heard of in the last {SILENT_WORKER_SECONDS:g} s; executions wait in the queue")
        return "at least one is at work"

    return (
        Check("database", database),
        Check("hints", hints_flow, is_required=False),
        Check("worker", worker, is_required=False),
    )


def health_routes(container: "Callable[[], Container]") -> list[Route]:
    """`/health/live` and `/health/ready`; the container is asked for at each request, once it is open."""

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"}, headers=_UNCACHED)

    async def ready(_: Request) -> JSONResponse:
        opened = container()
        status_code, answer = await readiness(standard_checks(opened.database.pool, opened.hints))
        return JSONResponse(answer, status_code, headers=_UNCACHED)

    return [Route("/health/live", live), Route("/health/ready", ready)]


async def readiness(checks: Sequence[Check]) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the answer: "ready", "degraded" (an optional check fails) or "not ready" (503)."""
    found = await asyncio.gather(*(_outcome(check) for check in checks))
    failed = [check for check, outcome in zip(checks, found, strict=True) if not outcome["ok"]]
    status = "not ready" if any(check.is_required for check in failed) else "degraded" if failed else "ready"
    answer = {"status": status, "checks": {check.name: each for check, each in zip(checks, found, strict=True)}}
    return (503 if status == "not ready" else 200), answer


async def _outcome(check: Check) -> dict[str, Any]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return {"ok": True, "detail": await check.probe()}
    except Unwell as error:
        return {"ok": False, "detail": str(error)}
    except TimeoutError:
        return {"ok": False, "detail": f"no answer within {CHECK_SECONDS:g} s"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer; its text may hold an address or a secret
        _log.warning("health_check_failed", check=check.name, error=repr(error))
        return {"ok": False, "detail": f"unreachable ({type(error).__name__})"}


_UNCACHED: Final = {"Cache-Control": "no-store"}
