"""How busy the machine is, or the container that we run in."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

CGROUP: Final = Path("/sys/fs/cgroup")
SMOOTHING_SECONDS: Final = 3.0
"""A peak of a moment says nothing: what was measured so long ago counts a third."""


class MachineLoad:
    """Percentages of processor and memory, as of the last `sample`; limits above which nothing new is to be taken."""

    def __init__(
        self,
        most_cpu_percent: float,
        most_memory_percent: float,
        *,
        cgroup: Path = CGROUP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cpu_percent: float | None = None
        self.memory_percent: float | None = None
        self.most_cpu_percent = most_cpu_percent
        self.most_memory_percent = most_memory_percent
        self._cgroup = cgroup
        self._clock = clock
        self._last: tuple[float, float] | None = None

    @property
    def is_low(self) -> bool:
        """Whether there is strength for more; True while nothing was measured."""
        is_free = (self.cpu_percent or 0.0) <= self.most_cpu_percent
        return is_free and (self.memory_percent or 0.0) <= self.most_memory_percent

    def sample(self) -> None:
        """Measure; the processor since the last time."""
        self.memory_percent = self._memory()
        now, used = self._clock(), self._cpu_seconds()
        if self._last is not None and now > self._last[0]:
            seconds = now - self._last[0]
            self._smooth(100 * max(0.0, used - self._last[1]) / (seconds * self._cpus()), seconds)
        self._last = (now, used)

    def _smooth(self, percent: float, seconds: float) -> None:
        weight = 1.0 if self.cpu_percent is None else min(1.0, seconds / SMOOTHING_SECONDS)
        self.cpu_percent = weight * min(percent, 100.0) + (1 - weight) * (self.cpu_percent or 0.0)

    def _cpus(self) -> float:
        quota, period = (self._read("cpu.max") or ["max", "0"])[:2]
        machine = float(psutil.cpu_count() or 1)
        return machine if quota == "max" else min(machine, float(quota) / float(period))

    def _cpu_seconds(self) -> float:
        """What was used of the processors: by the container where it has a quota, else by everybody."""
        if (self._read("cpu.max") or ["max"])[0] != "max":
            used = self._read("cpu.stat") or []
            return float(used[used.index("usage_usec") + 1]) / 1e6
        times = psutil.cpu_times()
        return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))

    def _memory(self) -> float:
        most = self._read("memory.max") or ["max"]
        if most[0] == "max":
            return float(psutil.virtual_memory().percent)
        used = float((self._read("memory.current") or ["0"])[0])
        stat = self._read("memory.stat") or []
        # Pages of files that nobody reads: given back whenever somebody needs them.
        cached = float(stat[stat.index("inactive_file") + 1]) if "inactive_file" in stat else 0.0
        return 100 * max(0.0, used - cached) / float(most[0])

    def _read(self, name: str) -> list[str] | None:
        """The words of a file of the control group (version 2); None where there is none."""
        try:
            return (self._cgroup / name).read_text("utf-8").split()
        except OSError:
            return None
