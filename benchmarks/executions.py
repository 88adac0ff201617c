"""What an execution costs through all of Regatta, against the same crew in a plain CrewAI script.

    python -m benchmarks.executions [--quick]

The same three roles, three tasks and texts; every model call is an HTTP request to the same model server, which answers
at once, in a process of its own. Rounds of all variants take turns.
"""

import argparse
import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psycopg

from app.migrations import migrate
from benchmarks._runs import (
    ANSWER,
    MODEL,
    Regatta,
    Script,
    Series,
    User,
    a_user,
    data_directory,
    machine,
    model_server,
    no_collections,
    publish,
    regatta,
    run_async,
    script,
    stop_like_ctrl_c,
    until,
)
from persistence.urls import asyncpg_arguments

AT_ONCE: Final = 16
_LOOK_SECONDS: Final = 0.01
_LAYERS: Final = ("crewai", "litellm", "dbos")
_WAYS: Final = ("threads", "akickoff", "for_each")

_LITELLM, _SHIPPED = "through LiteLLM", "as CrewAI ships"
_NAMES: Final = (("one worker", "one process"), ("two workers", "two processes"))

Figures = dict[str, Series]


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int
    one_by_one: int
    at_once: int
    warm_up: int
    throughput_rounds: int


FULL: Final = Size(rounds=5, one_by_one=20, at_once=64, warm_up=20, throughput_rounds=3)
QUICK: Final = Size(rounds=1, one_by_one=5, at_once=16, warm_up=5, throughput_rounds=1)


# One after another: CPU


async def followed(here: Regatta, user: User, count: int, into: Figures) -> None:
    before, began = here.cpu(), time.perf_counter()
    for _ in range(count):
        await user.run()
    wall, used = time.perf_counter() - began, here.cpu() - before
    _note(into, count, sum=used.ours, api=used.api, worker=used.worker, postgres=used.postgres, wall=wall)


async def unfollowed(here: Regatta, user: User, count: int, into: Figures) -> None:
    """Nobody asks the API how it goes: whether it is over is read from the database."""
    connection = await asyncpg.connect(**asyncpg_arguments(here.url))
    before, over = here.cpu(), await _over(connection)
    for _ in range(count):
        await user.kickoff()
        over += 1
        await until(partial(_is_over, connection, over), _LOOK_SECONDS)
    used = here.cpu() - before
    await connection.close()
    _note(into, count, alone=used.ours)


async def _is_over(connection: Any, count: int) -> bool:
    return await _over(connection) >= count


async def _over(connection: Any) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM execution WHERE status = 'COMPLETED'")
    return count


def _note(into: Figures, count: int, **seconds: float) -> None:
    """Milliseconds per execution."""
    for name, value in seconds.items():
        into[name].values.append(value / count * 1000)


# Many at once: throughput


async def at_once(here: Regatta, user: User, count: int) -> Mapping[str, float]:
    """Executions per second, and CPU per execution in milliseconds."""
    left = iter(range(count))
    before, began = here.cpu(), time.perf_counter()

    async def one_after_another() -> None:
        for _ in left:
            await user.run()

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))
    return {"rate": count / (time.perf_counter() - began), "cpu": (here.cpu() - before).ours / count * 1000}


async def bare_at_once(crews: list[Script], way: str, count: int) -> Mapping[str, float]:
    """The same of bare crews, shared out over so many processes."""
    share, places = count // len(crews), AT_ONCE // len(crews)
    began = time.perf_counter()
    orders = (asyncio.to_thread(crew, how=way, count=share, at_once=places) for crew in crews)
    measured = await asyncio.gather(*orders)
    wall, done = time.perf_counter() - began, share * len(crews)
    return {"rate": done / wall, "cpu": sum(each["cpu"] for each in measured) / done * 1000}


# Stages


@dataclass(slots=True)
class Cast:
    """Bare crews, so many processes of each kind."""

    litellm: list[Script]
    native: list[Script]

    def kinds(self, processes: int) -> Mapping[str, list[Script]]:
        return {_LITELLM: self.litellm[:processes], _SHIPPED: self.native[:processes]}


@contextlib.contextmanager
def the_cast(url: str) -> Iterator[Cast]:
    with contextlib.ExitStack() as stack:
        litellm = [stack.enter_context(_bare_crew(url)) for _ in _NAMES]
        yield Cast(litellm, [stack.enter_context(_bare_crew(url, "--native")) for _ in _NAMES])


def the_layers(database_url: str) -> AbstractContextManager[Script]:
    options = ("--model", MODEL, "--answer", ANSWER, "--database-url", _layers_database(database_url))
    return script("benchmarks._layers", *options)


def _bare_crew(url: str, *options: str) -> AbstractContextManager[Script]:
    return script("benchmarks._bare_crew", "--url", url, "--expected", ANSWER, *options)


def _layers_database(url: str) -> str:
    """A migrated database of its own on the same server: no worker serves it."""
    parts = urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE layers")
    made = urlunsplit(("", "", "/layers", parts.query, ""))
    made = f"{parts.scheme}://{parts.netloc}{made}"
    migrate(made)
    return made


async def with_one_worker(
    here: Regatta, cast: Cast, layers: Script, size: Size, cpu: Figures, many: dict[str, Figures]
) -> None:
    async with a_user(here) as user:
        await _warm_up(cast, size)
        for layer in _LAYERS:
            await asyncio.to_thread(layers, layer=layer, count=size.warm_up)
        for _ in range(size.warm_up):
            await user.run()
        with no_collections():
            for _ in range(size.rounds):
                await _round(here, cast, layers, user, size, cpu)
            await _throughputs(here, user, cast, 1, size, many)


async def with_two_workers(here: Regatta, cast: Cast, size: Size, many: dict[str, Figures]) -> None:
    async with a_user(here) as user:
        await at_once(here, user, 4 * size.warm_up)
        with no_collections():
            await _throughputs(here, user, cast, 2, size, many)


async def _warm_up(cast: Cast, size: Size) -> None:
    for crew in (*cast.litellm, *cast.native):
        await asyncio.to_thread(crew, how="one_by_one", count=size.warm_up)


async def _throughputs(
    here: Regatta, user: User, cast: Cast, processes: int, size: Size, many: dict[str, Figures]
) -> None:
    """As many processes of bare crews as workers; all bare ways are tried, the best is repeated in turn with ours."""
    workers, title = _NAMES[processes - 1]
    ways: dict[str, Sequence[str]] = dict.fromkeys(cast.kinds(processes), _WAYS)
    for _ in range(size.throughput_rounds):
        _add(many[f"Regatta, {workers}"], await at_once(here, user, size.at_once))
        for kind, crews in cast.kinds(processes).items():
            for way in ways[kind]:
                _add(many[_bare(kind, title, way)], await bare_at_once(crews, way, size.at_once // 2))
            ways[kind] = (max(_WAYS, key=partial(_rate_of, many, kind, title)),)


def _bare(kind: str, processes: str, way: str) -> str:
    return f"bare crew {kind}, {processes}, {way}"


def _rate_of(many: dict[str, Figures], kind: str, processes: str, way: str) -> float:
    return many[_bare(kind, processes, way)]["rate"].median


async def _round(here: Regatta, cast: Cast, layers: Script, user: User, size: Size, cpu: Figures) -> None:
    await followed(here, user, size.one_by_one, cpu)
    for name, crew, how in (
        ("bare_litellm", cast.litellm[0], "one_by_one"),
        ("bare_copies", cast.litellm[0], "for_each"),
        ("bare_native", cast.native[0], "one_by_one"),
    ):
        measured = await asyncio.to_thread(crew, how=how, count=size.one_by_one)
        _note(cpu, size.one_by_one, **{name: measured["cpu"], f"{name}_wall": measured["wall"]})
    await unfollowed(here, user, size.one_by_one, cpu)
    for layer in _LAYERS:
        measured = await asyncio.to_thread(layers, layer=layer, count=size.one_by_one)
        _note(cpu, size.one_by_one, **{layer: measured["cpu"]})


def _add(figures: Figures, measured: Mapping[str, float]) -> None:
    for name, value in measured.items():
        figures[name].values.append(value)


# What is written


def report(cpu: Figures, many: dict[str, Figures], size: Size, where: str) -> str:
    return (
        "# What an execution costs\n\n"
        f"{_cost(cpu)}\n\n{_throughput(many)}\n\n"
        f"## CPU, one after another\n\n{_cpu_table(cpu)}\n\n"
        f"## Where it goes\n\n{_split_table(cpu)}\n\n"
        f"{_SPLIT}\n\n"
        f"## 16 at once\n\n{_rates_table(many)}\n\n"
        f"How: {_HOW.format(rounds=size.rounds, count=size.rounds * size.one_by_one)}\n\n"
        f"Noise: {_noise(cpu)}\n\n"
        f"Where: {where}\n\nAgain: `python -m benchmarks.executions`.\n"
    )


def _cost(cpu: Figures) -> str:
    total, base, shipped = (cpu[name].median for name in ("sum", "bare_litellm", "bare_native"))
    return (
        f"CPU of API and worker for a 3-task execution: {total:.1f} ms. That is {total / base:.2f} times a bare crew"
        f" through LiteLLM ({base:.1f} ms), and {total / shipped:.2f} times one as CrewAI ships ({shipped:.1f} ms)."
        f" Target, at most 1.0: {_verdict(total <= base)}."
    )


def _throughput(many: dict[str, Figures]) -> str:
    said = "\n".join(_compared(many, kind, *names) for names in _NAMES for kind in (_LITELLM, _SHIPPED))
    return (
        f"Executions per second with 16 at once, against the best bare way:\n\n{said}\n\n"
        "Regatta's API, its database and its client share the cores with its workers; a script has none of them."
    )


def _compared(many: dict[str, Figures], kind: str, workers: str, processes: str) -> str:
    ours = many[f"Regatta, {workers}"]["rate"].median
    theirs = max(_rate_of(many, kind, processes, way) for way in _WAYS)
    verdict = _verdict(ours >= theirs)
    return f"- {workers}: {ours:.1f}; bare crew {kind}, {processes}: {theirs:.1f}. At least as many: {verdict}."


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _cpu_table(cpu: Figures) -> str:
    base = cpu["bare_litellm"].median
    rows = [
        ("Regatta, followed by a subscription (API + worker)", "sum"),
        ("… of that, the API process", "api"),
        ("… of that, the worker process", "worker"),
        ("Regatta, followed by nobody (API + worker)", "alone"),
        ("PostgreSQL beside it, durable (not in the sum)", "postgres"),
        ("bare crew through LiteLLM: `Crew(…).kickoff()`", "bare_litellm"),
        ("bare crew through LiteLLM: one crew, `kickoff_for_each()`", "bare_copies"),
        ("bare crew as CrewAI ships, its own OpenAI client: `Crew(…).kickoff()`", "bare_native"),
    ]
    lines = [f"| {title} | {cpu[name]} | {cpu[name].median / base:.2f} |" for title, name in rows]
    clocks = [
        f"| {title} | {cpu[name]} | |"
        for title, name in (("on the clock: Regatta", "wall"), ("on the clock: bare crew", "bare_litellm_wall"))
    ]
    head = "| ms per execution, median (lowest to highest round) | CPU | to the bare crew |\n|---|---:|---:|"
    return "\n".join([head, *lines, *clocks])


def _split_table(cpu: Figures) -> str:
    total = cpu["sum"].median
    parts = {name: cpu[name].median for name in _LAYERS}
    ours = total - sum(parts.values())
    titles = {
        "crewai": "CrewAI: prompts, agent, task, parsing (tuned)",
        "litellm": "LiteLLM: three streamed calls, with its HTTP client",
        "dbos": "DBOS: start, outcome",
    }
    rows = [(titles[name], value) for name, value in parts.items()]
    rows.append(("our own: GraphQL, HTTP, websocket, claim, checkpoints, events, ledger, duties", ours))
    lines = [f"| {title} | {value:.1f} | {value / total:.0%} |" for title, value in rows]
    return "\n".join(["| layer | ms CPU | share |\n|---|---:|---:|", *lines, f"| sum | {total:.1f} | 100% |"])


_SPLIT: Final = (
    "The first three are measured alone, in a process of their own, with what an execution needs of them: three tasks"
    " through our runner and its threads with a model that answers in no time; the three model calls of those tasks"
    " through our LiteLLM client; one empty workflow from its start to its end. Our own is what is left."
)

_HOW: Final = (
    "the demo's team of three roles and tasks on both sides; all model calls are HTTP requests to one scripted model"
    " server in a process of its own, which answers at once. Agents, tasks and crew of the bare crew are made anew for"
    " each kickoff, and its LLM once, as in a script; CrewAI's storage is on, its telemetry off. Regatta's kickoffs go"
    " over HTTP, and each execution is followed by a subscription, all on one websocket, to its last event. CPU is user"
    " and system time of all threads of the process, from the kernel; after warm-up, {rounds} rounds of all variants in"
    " turn, {count} executions of each. API and worker also pay for what they do while idle. At 16 at once, all bare"
    " ways are tried, and the best is repeated."
)


def _noise(cpu: Figures) -> str:
    names = {"sum": "Regatta", "bare_litellm": "bare crew through LiteLLM", "bare_native": "as it ships"}
    spreads = ", ".join(f"{title} ±{cpu[name].spread:.0%}" for name, title in names.items())
    return f"between rounds {spreads}."


def _rates_table(many: dict[str, Figures]) -> str:
    lines = [f"| {name} | {figures['rate']} | {figures['cpu']} |" for name, figures in many.items()]
    return "\n".join(["| | executions per second | ms CPU per execution |\n|---|---:|---:|", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, nothing is written")
    quick = parser.parse_args().quick
    size = QUICK if quick else FULL
    stop_like_ctrl_c()
    cpu: Figures = defaultdict(Series)
    many: dict[str, Figures] = defaultdict(lambda: defaultdict(Series))
    with model_server() as url, data_directory() as data_dir, the_cast(url) as cast:
        with regatta(data_dir, url, concurrency=AT_ONCE) as here, the_layers(here.url) as layers:
            run_async(lambda: with_one_worker(here, cast, layers, size, cpu, many))
        with regatta(data_dir, url, workers=2, concurrency=AT_ONCE) as here:
            run_async(lambda: with_two_workers(here, cast, size, many))
            where = machine(here)
    publish("executions", report(cpu, many, size, where), quick=quick)


if __name__ == "__main__":
    main()
