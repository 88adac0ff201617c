import pytest

from domain.services import retention
from domain.services.retention import ForgetOld


class Left:
    """So many rows of each kind, and months, that are too old; `calls` are what was removed by each call."""

    def __init__(
        self,
        executions: int = 0,
        deliveries: int = 0,
        fires: int = 0,
        alerts: int = 0,
        audit: int = 0,
        months: int = 0,
    ) -> None:
        self.rows = {
            "executions": executions,
            "deliveries": deliveries,
            "fires": fires,
            "alerts": alerts,
            "audit": audit,
        }
        self.months = months
        self.calls: list[tuple[str, int]] = []

    async def archive(self, limit: int) -> int:
        return self._forget("executions", limit)

    async def forget_deliveries(self, limit: int) -> int:
        return self._forget("deliveries", limit)

    async def forget_fires(self, limit: int) -> int:
        return self._forget("fires", limit)

    async def forget_alerts(self, limit: int) -> int:
        return self._forget("alerts", limit)

    async def forget_audit(self, limit: int) -> int:
        return self._forget("audit", limit)

    async def drop_month(self) -> bool:
        self.months -= 1
        return self.months >= 0

    def _forget(self, kind: str, limit: int) -> int:
        done = min(self.rows[kind], limit)
        self.rows[kind] -= done
        self.calls.append((kind, done))
        return done


async def test_all_that_is_old_goes_in_batches() -> None:
    left = Left(executions=25, deliveries=10, fires=3, alerts=5, audit=4, months=2)

    forgotten = await ForgetOld(left, batch=10, pause_seconds=0).sweep()

    assert forgotten == 47
    assert [count for kind, count in left.calls if kind == "executions"] == [10, 10, 5]
    assert [count for kind, count in left.calls if kind == "deliveries"] == [10, 0]
    assert [count for kind, count in left.calls if kind == "fires"] == [3]
    assert [count for kind, count in left.calls if kind == "alerts"] == [5]
    assert [count for kind, count in left.calls if kind == "audit"] == [4]
    assert left.months < 0


async def test_one_sweep_has_an_end_however_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_BATCHES", 4)
    left = Left(executions=1_000, fires=1, months=1_000)

    forgotten = await ForgetOld(left, batch=10, pause_seconds=0).sweep()

    assert forgotten == 41
    assert left.months == 1_000 - 12
