from pathlib import Path

import pytest

from app.load import MachineLoad


def a_container(path: Path, *, cpu_seconds: float, memory: int, cached: int = 0) -> None:
    """A control group with half a processor and 1000 bytes."""
    (path / "cpu.max").write_text("50000 100000\n")
    (path / "cpu.stat").write_text(f"usage_usec {int(cpu_seconds * 1e6)}\nuser_usec 1\n")
    (path / "memory.max").write_text("1000\n")
    (path / "memory.current").write_text(f"{memory}\n")
    (path / "memory.stat").write_text(f"anon 1\ninactive_file {cached}\n")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_not_measured_yet_keeps_nobody_from_anything(tmp_path: Path) -> None:
    load = MachineLoad(80, 75, cgroup=tmp_path)

    assert (load.is_low, load.cpu_percent, load.memory_percent) == (True, None, None)


def test_in_a_container_its_own_limits_count(tmp_path: Path) -> None:
    clock = Clock()
    load = MachineLoad(80, 75, cgroup=tmp_path, clock=clock)

    a_container(tmp_path, cpu_seconds=10.0, memory=500, cached=100)
    load.sample()
    clock.now = 10.0
    a_container(tmp_path, cpu_seconds=12.0, memory=500, cached=100)
    load.sample()

    assert load.cpu_percent == pytest.approx(40.0)  # 2 of the 5 seconds that half a processor has
    assert load.memory_percent == pytest.approx(40.0)
    assert load.is_low


@pytest.mark.parametrize(("cpu_seconds", "memory"), [(4.5, 100), (0.0, 760)])
def test_above_a_limit_the_load_is_not_low(tmp_path: Path, cpu_seconds: float, memory: int) -> None:
    clock = Clock()
    load = MachineLoad(80, 75, cgroup=tmp_path, clock=clock)
    a_container(tmp_path, cpu_seconds=0.0, memory=memory)
    load.sample()

    clock.now = 10.0
    a_container(tmp_path, cpu_seconds=cpu_seconds, memory=memory)
    load.sample()

    assert not load.is_low


def test_a_peak_of_a_moment_counts_little(tmp_path: Path) -> None:
    clock = Clock()
    load = MachineLoad(80, 75, cgroup=tmp_path, clock=clock)
    for now, used in ((0.0, 0.0), (10.0, 0.0), (10.3, 0.15)):
        clock.now = now
        a_container(tmp_path, cpu_seconds=used, memory=0)
        load.sample()

    assert load.cpu_percent == pytest.approx(10.0)


def test_without_a_container_the_machine_is_measured(tmp_path: Path) -> None:
    clock = Clock()
    load = MachineLoad(80, 75, cgroup=tmp_path, clock=clock)
    load.sample()
    clock.now = 1.0
    load.sample()

    assert load.cpu_percent is not None
    assert 0 <= load.cpu_percent <= 100
    assert load.memory_percent is not None
    assert 0 < load.memory_percent <= 100
