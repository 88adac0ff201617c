"""From the kickoff to the first event that the worker wrote, on the websocket.

    python -m benchmarks.first_event [--quick]

One kickoff at a time against `regatta serve` (real processes, embedded PostgreSQL with its default durability, a
warm worker, a model that answers at once). The clock starts when the mutation is sent; the subscription is sent when
its answer is there. It stops when ExecutionStarted, which the worker writes when it claims the execution, arrives.

In the same run: the least that a kickoff can take (the mutation's own round trip, an HTTP round trip and a websocket
round trip that do nothing), and how long a client without a subscription waits that asks for the status every 50 ms.
"""

import argparse
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from benchmarks._runs import (
    LATEST,
    Regatta,
    User,
    a_user,
    data_directory,
    machine,
    model_server,
    no_collections,
    percentile,
    publish,
    regatta,
    run_async,
    stop_like_ctrl_c,
    until,
)

POLL_SECONDS: Final = 0.05
WARM_UP: Final = 20
TARGETS: Final = {0.5: 60.0, 0.99: 200.0}
_ROUNDS: Final = 5

FIRST, ANSWERED, POLLED, HTTP, SOCKET = (
    "kickoff to the first event of the worker, subscribed",
    "… of that, the mutation's own answer",
    "kickoff to RUNNING or later, asking every 50 ms",
    "an empty HTTP query (`{ __typename }`)",
    "an empty websocket round trip (ping, pong)",
)


async def first_event(user: User, took: dict[str, list[float]]) -> None:
    began = time.perf_counter()
    execution_id = await user.kickoff()
    answered = time.perf_counter()
    first = 0.0
    async for event in user.events(execution_id):
        if event["__typename"] == "ExecutionStarted":
            first = time.perf_counter()
    took[FIRST].append(first - began)
    took[ANSWERED].append(answered - began)


async def polled(user: User, took: dict[str, list[float]]) -> None:
    began = time.perf_counter()
    execution_id = await user.kickoff()
    await until(lambda: _has_left(user, execution_id, "QUEUED"), POLL_SECONDS)
    took[POLLED].append(time.perf_counter() - began)
    await until(lambda: _has_left(user, execution_id, "QUEUED", "RUNNING"), POLL_SECONDS)


async def _has_left(user: User, execution_id: str, *statuses: str) -> bool:
    return (await user.ask(LATEST, id=execution_id))["execution"]["status"] not in statuses


async def nothing(user: User, took: dict[str, list[float]]) -> None:
    began = time.perf_counter()
    await user.ask("{ __typename }")
    took[HTTP].append(time.perf_counter() - began)
    began = time.perf_counter()
    await user.ping()
    took[SOCKET].append(time.perf_counter() - began)


async def measured(here: Regatta, count: int) -> dict[str, list[float]]:
    """Seconds by figure; the ways take turns, so that a disturbance meets them all."""
    took: dict[str, list[float]] = {name: [] for name in (FIRST, ANSWERED, POLLED, HTTP, SOCKET)}
    ways: Sequence[Callable[[User, dict[str, list[float]]], Awaitable[None]]] = (first_event, polled, nothing)
    async with a_user(here) as user:
        for _ in range(WARM_UP):
            await user.run()
        with no_collections():
            for _round, way in itertools.product(range(_ROUNDS), ways):
                for _ in range(max(1, count // _ROUNDS)):
                    await way(user, took)
    return took


def report(took: dict[str, list[float]], where: str) -> str:
    rows = "\n".join(
        f"| {name} | {len(values)} | {_ms(values, 0.5)} | {_ms(values, 0.99)} | {max(values) * 1000:.1f} |"
        for name, values in took.items()
    )
    least = percentile(took[ANSWERED], 0.5) + percentile(took[SOCKET], 0.5)
    ratio = percentile(took[FIRST], 0.5) / least
    against = percentile(took[FIRST], 0.5) / percentile(took[POLLED], 0.5)
    verdicts = " ".join(
        f"p{round(share * 100)} {_ms(took[FIRST], share)} ms, target under {limit:.0f} ms:"
        f" {'met' if percentile(took[FIRST], share) * 1000 < limit else 'MISSED'}."
        for share, limit in TARGETS.items()
    )
    return (
        "# Kickoff to first event\n\n"
        f"{verdicts}\n\n"
        "| milliseconds | times | p50 | p99 | worst |\n|---|---:|---:|---:|---:|\n"
        f"{rows}\n\n"
        f"The median is {ratio:.1f} times the least that it could be (the mutation's answer and one websocket round"
        f" trip), and {against:.2f} times that of asking every 50 ms.\n\n"
        f"How: {_HOW}\n\n"
        f"Where: {where}\n\n"
        "Again: `python -m benchmarks.first_event`.\n"
    )


_HOW: Final = (
    "one kickoff at a time against `regatta serve` (API, one worker, embedded PostgreSQL with fsync on), the model"
    " answering at once; the clock starts when the mutation is sent, the subscription is sent when its answer is there,"
    " and the clock stops when `ExecutionStarted` arrives, which the worker commits when it claims the execution."
    " Warmed up by 20 executions; the ways take turns in five rounds."
)


def _ms(values: Sequence[float], share: float) -> str:
    return f"{percentile(values, share) * 1000:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ten of each, nothing is written")
    quick = parser.parse_args().quick
    stop_like_ctrl_c()
    with model_server() as url, data_directory() as data_dir, regatta(data_dir, url) as here:
        took = run_async(lambda: measured(here, 10 if quick else 100))
        publish("first_event", report(took, machine(here)), quick=quick)


if __name__ == "__main__":
    main()
