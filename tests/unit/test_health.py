"""Readiness: what is required, what is only better, and what may be said about it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from app import health
from app.health import Check, Unwell, readiness, standard_checks


async def _well() -> str:
    return "fine"


async def _unwell() -> str:
    raise Unwell("the mast is broken")


async def _leaking() -> str:
    raise ConnectionError("postgresql://me:hidden@db")


async def _silent() -> str:
    await asyncio.sleep(60)
    return "too late"


async def test_with_everything_well_it_is_ready() -> None:
    assert await readiness([Check("mast", _well)]) == (
        200,
        {"status": "ready", "checks": {"mast": {"ok": True, "detail": "fine"}}},
    )


async def test_a_required_check_that_fails_takes_it_out_of_service() -> None:
    status, answer = await readiness([Check("mast", _unwell), Check("sail", _well)])

    assert status == 503
    assert answer["status"] == "not ready"
    assert answer["checks"]["mast"] == {"ok": False, "detail": "the mast is broken"}
    assert answer["checks"]["sail"]["ok"]


async def test_an_optional_check_that_fails_is_shown_and_no_more() -> None:
    status, answer = await readiness([Check("mast", _well), Check("flag", _unwell, is_required=False)])

    assert (status, answer["status"]) == (200, "degraded")


async def test_an_unexpected_error_shows_its_kind_and_not_its_text() -> None:
    _, answer = await readiness([Check("mast", _leaking)])

    assert answer["checks"]["mast"]["detail"] == "unreachable (ConnectionError)"


async def test_a_check_that_does_not_answer_has_failed() -> None:
    _, answer = await readiness([Check("mast", _silent)])

    assert answer["checks"]["mast"] == {"ok": False, "detail": f"no answer within {health.CHECK_SECONDS:g} s"}


class _Pool:
    """A database at this revision, with a worker."""

    def __init__(self, revision: str | None) -> None:
        self.revision = revision

    async def fetchval(self, query: str, *_: Any) -> Any:
        return self.revision if "alembic_version" in query else True


@pytest.mark.parametrize(
    ("revision", "status", "detail"),
    [
        ("0012", 200, "at revision 0012"),
        ("0013", 200, "at revision 0013; this process is of 0012"),
        ("0011", 503, "at revision 0011, needed is 0012: run `regatta migrate`"),
        (None, 503, "at revision None, needed is 0012: run `regatta migrate`"),
    ],
)
async def test_who_migrates_before_he_upgrades_takes_nobody_out_of_service(
    monkeypatch: pytest.MonkeyPatch, revision: str | None, status: int, detail: str
) -> None:
    monkeypatch.setattr(health, "newest_revision", lambda: "0012")
    pool: Any = _Pool(revision)
    hints: Any = SimpleNamespace(connected=True)

    found, answer = await readiness(standard_checks(pool, hints))

    assert (found, answer["checks"]["database"]["detail"]) == (status, detail)
