"""Twenty objectives in one bulk request against one after another, with a model that takes 200 ms for an answer.

    python -m benchmarks.generation [--quick]

Every proposal is composed by the model over HTTP, checked, validated and estimated; the clock stops when it is READY.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import asyncpg

from benchmarks._runs import (
    Regatta,
    Series,
    User,
    a_user,
    data_directory,
    machine,
    model_server,
    publish,
    regatta,
    run_async,
    stop_like_ctrl_c,
    until,
)
from persistence.urls import asyncpg_arguments

OBJECTIVES: Final = 20
LATENCY: Final = 0.2
ROUNDS: Final = 5
TARGET: Final = 5.0
_LOOK_SECONDS: Final = 0.003

PROPOSAL: Final = json.dumps(
    {
        "name": "Tea launch",
        "description": "Brings a new tea to the market.",
        "process": "PARALLEL",
        "manager": None,
        "roles": [
            {"title": "Market analyst", "description": "Knows the market.", "expertise": "SENIOR"},
            {"title": "Copywriter", "description": "Writes what sells.", "expertise": "INTERMEDIATE"},
            {"title": "Editor", "description": "Brings it together.", "expertise": "SENIOR"},
        ],
        "tasks": [
            {
                "name": "Read the market",
                "description": "Describe who buys tea like this, at which price, and what competitors say of theirs.",
                "expected_output": "Three segments with a price range and the message that reaches them.",
                "role": "Market analyst",
            },
            {
                "name": "Draft the texts",
                "description": "Write a headline, a product text of 120 words and five posts for the new tea.",
                "expected_output": "All texts, each with the segment that it is for.",
                "role": "Copywriter",
            },
            {
                "name": "Bring it together",
                "description": "Match texts and segments, cut what does not fit, and write the plan for the launch.",
                "expected_output": "A launch plan of one page with the final texts.",
                "role": "Editor",
                "depends_on": ["Read the market", "Draft the texts"],
            },
        ],
    }
)

_PROJECT: Final = "{ tenant { projects { nodes { id } } } }"
_ONE: Final = """
mutation One($input: GenerateTeamInput!) {
  generateTeam(input: $input) { generation { id } errors { message } }
}
"""
_MANY: Final = """
mutation Many($input: BulkGenerateTeamsInput!) {
  bulkGenerateTeams(input: $input) { results { index errors { message } } errors { message } }
}
"""
_OPEN: Final = "SELECT count(*) FROM generation WHERE status IN ('PENDING', 'ANALYSING', 'COMPOSING', 'VALIDATING')"
_MADE: Final = "SELECT count(*) FROM generation WHERE status = 'READY' AND composed_by = 'MODEL'"


@dataclass(slots=True)
class Measured:
    """Seconds for all objectives, and the CPU of API and worker for one, in milliseconds."""

    serial: Series = field(default_factory=Series)
    bulk: Series = field(default_factory=Series)
    cpu: Series = field(default_factory=Series)
    ready: int = 0


def _objectives(count: int) -> list[str]:
    return [f"Bring tea number {number} to the market, with a plan for the launch." for number in range(count)]


async def _asked(user: User, mutation: str, **given: Any) -> None:
    [payload] = (await user.ask(mutation, input=given)).values()
    assert not payload["errors"], payload
    assert not [each for each in payload.get("results", ()) if each["errors"]], payload


async def _over(connection: Any) -> None:
    async def is_done() -> bool:
        return bool(await connection.fetchval(_OPEN) == 0)

    await until(is_done, _LOOK_SECONDS)


async def _one_after_another(user: User, connection: Any, project: str, objectives: Sequence[str]) -> float:
    began = time.perf_counter()
    for objective in objectives:
        await _asked(user, _ONE, projectId=project, objective=objective)
        await _over(connection)
    return time.perf_counter() - began


async def _at_once(user: User, connection: Any, project: str, objectives: Sequence[str]) -> float:
    began = time.perf_counter()
    await _asked(user, _MANY, projectId=project, objectives=list(objectives))
    await _over(connection)
    return time.perf_counter() - began


async def measure(here: Regatta, count: int, rounds: int) -> Measured:
    result, objectives = Measured(), _objectives(count)
    connection = await asyncpg.connect(**asyncpg_arguments(here.url))
    async with a_user(here) as user:
        project = (await user.ask(_PROJECT))["tenant"]["projects"]["nodes"][0]["id"]
        await _at_once(user, connection, project, objectives[:2])  # what is made once is made
        for _ in range(rounds):
            result.serial.values.append(await _one_after_another(user, connection, project, objectives))
            before = here.cpu()
            result.bulk.values.append(await _at_once(user, connection, project, objectives))
            result.cpu.values.append((here.cpu() - before).ours / count * 1000)
    result.ready = await connection.fetchval(_MADE)
    await connection.close()
    assert result.ready == 2 + 2 * rounds * count, result.ready
    return result


def report(measured: Measured, count: int, where: str) -> str:
    ratio = measured.serial.median / measured.bulk.median
    verdict = "met" if ratio >= TARGET else "MISSED"
    return (
        "# Many objectives at once\n\n"
        f"{count} objectives, a model that answers after {LATENCY * 1000:.0f} ms, one worker:\n\n"
        "| | seconds, median (lowest to highest) |\n|---|---:|\n"
        f"| `generateTeam`, one after another | {_seconds(measured.serial)} |\n"
        f"| `bulkGenerateTeams`, ten at once | {_seconds(measured.bulk)} |\n\n"
        f"{ratio:.1f} times as fast; at least {TARGET:.0f} times: {verdict}. One takes {measured.cpu} ms of CPU,"
        " API and worker together: the analysis, the prompt, the call through the gateway with its reservation and its"
        " ledger entry, the check, the validation with its estimate, six writes.\n\n"
        f"How: {len(measured.bulk.values)} rounds, taking turns; all {measured.ready} proposals were composed by the"
        " model and are READY. The database, the API, the worker and the model server share the machine.\n\n"
        f"Where: {where}\n\nAgain: `python -m benchmarks.generation`.\n"
    )


def _seconds(series: Series) -> str:
    return f"{series.median:.2f} ({min(series.values):.2f} to {max(series.values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, nothing is written")
    quick = parser.parse_args().quick
    count, rounds = (4, 1) if quick else (OBJECTIVES, ROUNDS)
    stop_like_ctrl_c()
    with model_server(LATENCY, PROPOSAL) as url, data_directory() as data_dir, regatta(data_dir, url) as here:
        measured = run_async(partial(measure, here, count, rounds))
        where = machine(here)
    publish("generation", report(measured, count, where), quick=quick)


if __name__ == "__main__":
    main()
