"""What tracing costs: CPU per execution of three tasks with a local collector against none, in turns.

    python -m benchmarks.tracing [--quick]

Two Regattas as they ship, side by side, on the same model server, which answers at once; one sends every span to a
collector in a process of its own, which throws them away.
"""

import argparse
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks._runs import (
    Regatta,
    Series,
    User,
    a_user,
    beside,
    data_directory,
    machine,
    model_server,
    no_collections,
    publish,
    regatta,
    run_async,
    stop_like_ctrl_c,
)

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
OFF, ON = "off", "on"
FIGURES: Final = {
    "sum": "API + worker",
    "api": "… of that, the API process",
    "worker": "… of that, the worker process",
    "postgres": "PostgreSQL beside it (not in the sum)",
    "wall": "on the clock",
}

Figures = dict[str, dict[str, Series]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    executions: int
    warm_up: int


FULL: Final = Size(rounds=10, executions=20, warm_up=20)
QUICK: Final = Size(rounds=2, executions=3, warm_up=2)


@contextlib.contextmanager
def a_regatta(model_url: str, collector_url: str | None) -> Iterator[Regatta]:
    """Traced where there is a collector."""
    os.environ.pop(_ENDPOINT, None)
    if collector_url:
        os.environ[_ENDPOINT] = collector_url
    with data_directory() as data_dir, regatta(data_dir, model_url) as here:
        os.environ.pop(_ENDPOINT, None)
        yield here


async def measure(sides: Mapping[str, Regatta], size: Size) -> Figures:
    figures: Figures = {side: defaultdict(Series) for side in sides}
    async with a_user(sides[OFF]) as untraced, a_user(sides[ON]) as traced:
        users = {OFF: untraced, ON: traced}
        for user in users.values():
            for _ in range(size.warm_up):
                await user.run()
        with no_collections():
            for number in range(size.rounds):
                for side in (OFF, ON) if number % 2 else (ON, OFF):  # neither is always the first
                    await _round(sides[side], users[side], size.executions, figures[side])
    return figures


async def _round(here: Regatta, user: User, count: int, into: dict[str, Series]) -> None:
    before, began = here.cpu(), time.perf_counter()
    for _ in range(count):
        await user.run()
    wall, used = time.perf_counter() - began, here.cpu() - before
    noted = {"sum": used.ours, "api": used.api, "worker": used.worker, "postgres": used.postgres, "wall": wall}
    for name, seconds in noted.items():
        into[name].values.append(seconds / count * 1000)


def report(figures: Figures, size: Size, where: str) -> str:
    off, more = figures[OFF]["sum"].median, _more(figures, "sum")
    rows = "\n".join(
        f"| {title} | {figures[OFF][name]} | {figures[ON][name]} | {_more(figures, name)} |"
        for name, title in FIGURES.items()
    )
    noise = max(figures[side]["sum"].spread for side in (OFF, ON))
    is_told = min(more.values) > 0 or max(more.values) < 0
    return (
        "# What tracing costs\n\n"
        f"Sending every span of a 3-task execution to a collector costs {more.median:+.1f} ms CPU"
        f" ({more.median / off:+.1%} of {off:.1f} ms)."
        f" {'All rounds agree on the sign.' if is_told else 'The rounds do not agree on the sign: it drowns in noise.'}"
        "\n\n"
        "| ms per execution, median (lowest to highest round) | off | on | more, in the same round |\n"
        "|---|---:|---:|---:|\n"
        f"{rows}\n\n"
        "An execution has about a dozen spans: its request, the operation and the kickoff, the wait, the run, and for"
        " each of its tasks the attempt and the model call.\n\n"
        f"How: two Regattas with one worker each take turns for {size.rounds} rounds of {size.executions} executions,"
        " one after another, each followed by a subscription; the collector is a process of its own on the same"
        " machine, and its CPU is not in the figures. Encoding and sending is.\n\n"
        f"Noise: the rounds of one side lie up to {noise:.0%} around their median.\n\n"
        f"Where: {where}\n\nAgain: `python -m benchmarks.tracing`.\n"
    )


def _more(figures: Figures, name: str) -> Series:
    """What the traced side took more in each round, in which both had the same neighbours on the machine."""
    return Series([on - off for off, on in zip(figures[OFF][name].values, figures[ON][name].values, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few executions, nothing is kept")
    quick = parser.parse_args().quick
    size = QUICK if quick else FULL
    stop_like_ctrl_c()
    with (
        model_server() as model_url,
        beside("tests.support.collector") as collector_url,
        a_regatta(model_url, None) as untraced,
        a_regatta(model_url, collector_url) as traced,
    ):
        sides = {OFF: untraced, ON: traced}
        figures: Figures = run_async(lambda: measure(sides, size))
        publish("tracing", report(figures, size, machine(untraced)), quick=quick)


if __name__ == "__main__":
    main()
