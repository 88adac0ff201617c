"""The team of the demo as a plain CrewAI script: what `executions.py` compares with, in a process of its own.

It reads orders from standard input, one JSON object per line, and answers each with a line of its own:

    {"how": "one_by_one", "count": 20}               {"how": "threads", "count": 96, "at_once": 16}

Nothing of Regatta is imported but the texts of the team. Everything is as CrewAI ships it (its SQLite file of task
outputs too, in a directory of its own), except that telemetry and tracing are off: there is nobody to send it to.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from app.seed import INPUTS, ROLES, TASKS

if TYPE_CHECKING:
    from crewai import Crew

MODEL: Final = "openai/gpt-4o-mini"
_QUIET: Final = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "OTEL_SDK_DISABLED": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else the import waits for a download
}


def a_crew(url: str, *, native: bool) -> "Crew":
    """The crew, made anew for each kickoff; natively with CrewAI's own OpenAI client, else through LiteLLM."""
    from crewai import Agent, Crew, Process, Task  # noqa: PLC0415 - the environment comes first

    llm = _llm(threading.get_ident(), url, native=native)
    agents = {
        role.title: Agent(
            role=role.title,
            goal="\n".join(role.goals),
            backstory=f"{role.description}\n{role.backstory}",
            llm=llm,
            allow_delegation=False,
        )
        for role in ROLES
    }
    tasks = [
        Task(
            name=task.name,
            description=task.description,
            expected_output=task.expected_output,
            agent=agents[task.role],
        )
        for task in TASKS
    ]
    return Crew(agents=list(agents.values()), tasks=tasks, process=Process.sequential)


@cache
def _llm(_thread: int, url: str, *, native: bool) -> Any:
    """One for all crews of a thread: CrewAI's own client costs 30 ms to make."""
    from crewai import LLM  # noqa: PLC0415 - the environment comes first

    llm = LLM(model=MODEL, is_litellm=not native, base_url=url, api_key="none")
    assert llm.is_litellm is not native
    return llm


def one_by_one(make: Callable[[], "Crew"], count: int, _at_once: int) -> list[Any]:
    return [make().kickoff(inputs=dict(INPUTS)) for _ in range(count)]


def for_each(make: Callable[[], "Crew"], count: int, _at_once: int) -> list[Any]:
    """CrewAI's own way to many runs: one crew, copied for each."""
    outputs: Any = make().kickoff_for_each(inputs=[dict(INPUTS)] * count)
    return list(outputs)


def threads(make: Callable[[], "Crew"], count: int, at_once: int) -> list[Any]:
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: make().kickoff(inputs=dict(INPUTS)), range(count)))


def akickoff(make: Callable[[], "Crew"], count: int, at_once: int) -> list[Any]:
    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(at_once))  # its agents run in the loop's threads
        places = asyncio.Semaphore(at_once)

        async def one() -> Any:
            async with places:
                return await make().akickoff(inputs=dict(INPUTS))

        return await asyncio.gather(*(one() for _ in range(count)))

    return asyncio.run(run())


WAYS: Final[Mapping[str, Callable[[Callable[[], "Crew"], int, int], list[Any]]]] = {
    "one_by_one": one_by_one,
    "for_each": for_each,
    "threads": threads,
    "akickoff": akickoff,
}


def carry_out(order: Mapping[str, Any], make: Callable[[], "Crew"], expected: str) -> dict[str, Any]:
    """Seconds of CPU and on the clock that the order took; raises when a crew did not answer what it should."""
    began, spent = time.perf_counter(), time.process_time()
    outputs = WAYS[order["how"]](make, order["count"], order.get("at_once", 1))
    measured = {"cpu": time.process_time() - spent, "wall": time.perf_counter() - began}
    assert [output.raw for output in outputs] == [expected] * order["count"]
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the model server, ending in /v1")
    parser.add_argument("--native", action="store_true", help="CrewAI's own OpenAI client instead of LiteLLM")
    parser.add_argument("--expected", required=True, help="the answer of the model server")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    with tempfile.TemporaryDirectory(prefix="bare-crew-") as storage:
        os.environ.update(_QUIET, CREWAI_STORAGE_DIR=storage)
        for line in sys.stdin:
            measured = carry_out(json.loads(line), lambda: a_crew(options.url, native=options.native), options.expected)
            print(json.dumps(measured), file=answers, flush=True)


if __name__ == "__main__":
    main()
