"""A worker's run service on scripted steps, over the run store in memory or the real one."""

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domain.events import ModelCalled
from domain.model.execution import Execution
from domain.ports import RunSink, TaskWork
from domain.services.recorder import EventRecorder
from domain.services.runs import RunExecution, RunRules
from tests.support.fakes import ScriptedRunner, Step, a_ledger_entry, a_team_with_tasks
from tests.support.worlds import World

RULES = RunRules(default_model="test/default", first_pause=0.01, longest_context=60)


@dataclass
class Worker:
    """What runs executions in a worker process, on this data."""

    world: World
    run: RunExecution
    recorder: EventRecorder
    runner: ScriptedRunner

    async def __call__(self, execution: Execution) -> None:
        await self.run(await self.world.admit(execution.id, self.run.worker_id))

    def begin(self, execution: Execution) -> "asyncio.Task[None]":
        return asyncio.create_task(self(execution))


async def queued(world: World, *names: str, **settings: Any) -> Execution:
    execution, tasks, snapshot = a_team_with_tasks(*names, **settings)
    await world.add(execution, tasks, snapshot)
    return execution


class Blocked:
    """A step that begins and does not end by itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.was_cancelled = False

    async def __call__(self, work: TaskWork, sink: RunSink) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            sink.book(a_ledger_entry(work), a_call(work))  # as the gateway does with a call that is closed
            raise
        return ""


def failing(*failures: Exception) -> Step:
    """A step that fails with these, one after another, and then succeeds."""
    left = list(failures)

    async def step(work: TaskWork, _: RunSink) -> str:
        if left:
            raise left.pop(0)
        return f"{work.task.name} at last"

    return step


def a_call(work: TaskWork) -> ModelCalled:
    return ModelCalled(
        tenant_id=work.ownership.tenant_id,
        execution_id=work.ownership.execution_id,
        task_execution_id=work.task_execution_id,
        role_id=work.role_id,
        model=work.model,
        outcome="SUCCEEDED",
        prompt_tokens=10,
        completion_tokens=0,
        cost_amount=Decimal("0.01"),
        latency_seconds=0.1,
    )
