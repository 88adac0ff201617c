"""How the figures of a period differ from those of the period before."""

from dataclasses import dataclass

from domain.model.metrics import Figures, change


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two periods of as many parts; a change is a share, 0.5 for half as much again, None where nothing was before."""

    now: Figures
    before: Figures

    @property
    def executions(self) -> float | None:
        """Of how many ended."""
        return change(self.now.executions.ended, self.before.executions.ended)

    @property
    def success_rate(self) -> float | None:
        """The difference of the rates: 0.1 for ten more of a hundred. None where one of the periods has none."""
        now, before = self.now.executions.success_rate, self.before.executions.success_rate
        return None if now is None or before is None else now - before

    @property
    def duration_p95(self) -> float | None:
        """Of what 95 of 100 executions did not exceed."""
        return change(self.now.executions.durations.p95_seconds, self.before.executions.durations.p95_seconds)

    @property
    def spend(self) -> float | None:
        return change(self.now.calls.cost_amount, self.before.calls.cost_amount)

    @property
    def tokens(self) -> float | None:
        return change(self.now.calls.total_tokens, self.before.calls.total_tokens)
