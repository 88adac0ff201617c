"""Refinement: passes over the last task, judged by an evaluator, until one is good enough."""

import asyncio
import json
from collections.abc import Callable

from domain.errors import FailureCode, RunFailed
from domain.events import RefinementScored
from domain.model.execution import Execution, ExecutionStatus
from domain.model.model import Tier
from domain.model.refinement import CRITERIA
from domain.ports import RunSink, TaskWork
from domain.services.runs import RunRules
from tests.support.fakes import Step, a_team_with_tasks
from tests.support.routes import FakeCatalogue, a_model, an_offer
from tests.support.run_workers import Worker, failing
from tests.support.worlds import World

PLAIN = RunRules(first_pause=0.01)

Workers = Callable[..., Worker]


def scored(score: float, critique: str = "More detail.") -> str:
    return json.dumps({**dict.fromkeys(CRITERIA, score), "critique": critique})


def drafts() -> Step:
    """A step whose outputs are numbered."""
    count = 0

    async def step(_: TaskWork, __: RunSink) -> str:
        nonlocal count
        count += 1
        return f"draft {count}"

    return step


async def refined(
    world: World, a_worker: Workers, verdicts: list[str | RunFailed], passes: int = 3, last: Step | None = None
) -> tuple[Execution, Worker]:
    execution, tasks, snapshot = a_team_with_tasks("research", "report")
    execution.refinement_passes, execution.refinement_threshold = passes, 0.8
    await world.add(execution, tasks, snapshot)
    worker = a_worker(report=last or drafts())
    worker.runner.verdicts = verdicts
    await worker(execution)
    return await world.execution(execution.id), worker


async def told(world: World, execution: Execution) -> list[tuple[int, float | None, bool]]:
    events = [event for event in await world.events(execution.id) if isinstance(event, RefinementScored)]
    return [(event.number, event.score, event.will_continue) for event in events]


async def test_an_output_that_is_good_enough_is_judged_once(world: World, a_worker: Workers) -> None:
    execution, worker = await refined(world, a_worker, [scored(0.9)])

    assert (execution.status, execution.output) == (ExecutionStatus.COMPLETED, "draft 1")
    assert worker.runner.names == ["research", "report"]
    assert await told(world, execution) == [(1, 0.9, False)]
    _, prompt = worker.runner.evaluations[0]
    assert "draft 1" in prompt
    assert "Do report" in prompt


async def test_a_weak_output_is_done_again_with_the_critique_until_it_is_good_enough(
    world: World, a_worker: Workers
) -> None:
    execution, worker = await refined(world, a_worker, [scored(0.4, "Name the sources."), scored(0.85)])

    assert execution.output == "draft 2"
    again = worker.runner.works[-1]
    assert (again.task.feedback, again.task.attempts) == ("Name the sources.", 2)
    assert await told(world, execution) == [(1, 0.4, True), (2, 0.85, False)]


async def test_after_the_last_pass_the_best_one_stands(world: World, a_worker: Workers) -> None:
    execution, _ = await refined(world, a_worker, [scored(0.5), scored(0.7), scored(0.6)])

    assert execution.output == "draft 2"
    assert [task.output for task in await world.tasks(execution.id)][-1] == "draft 2"


async def test_a_score_that_cannot_be_read_is_shown_as_an_error_and_never_made_up(
    world: World, a_worker: Workers
) -> None:
    execution, _ = await refined(world, a_worker, [scored(0.5), '{"completeness": "great"}'])

    assert (execution.status, execution.output) == (ExecutionStatus.COMPLETED, "draft 1")
    assert await told(world, execution) == [(1, 0.5, True), (2, None, False)]
    last = [event for event in await world.events(execution.id) if isinstance(event, RefinementScored)][-1]
    assert last.error == "The evaluator's answer has no scores."


async def test_an_evaluator_that_fails_leaves_the_output_to_stand(world: World, a_worker: Workers) -> None:
    failure = RunFailed(FailureCode.MODEL_UNAVAILABLE, "Nobody judges.", retryable=True)

    execution, _ = await refined(world, a_worker, [failure])

    assert (execution.status, execution.output) == (ExecutionStatus.COMPLETED, "draft 1")
    assert await told(world, execution) == [(1, None, False)]


async def test_a_further_pass_that_fails_leaves_the_best_one_to_stand(world: World, a_worker: Workers) -> None:
    attempts = drafts()
    fail = failing(RunFailed(FailureCode.MODEL_REFUSED, "No."))

    async def last(work: TaskWork, sink: RunSink) -> str:
        return await (attempts if work.task.attempts == 1 else fail)(work, sink)

    execution, _ = await refined(world, a_worker, [scored(0.3)], last=last)

    assert (execution.status, execution.output) == (ExecutionStatus.COMPLETED, "draft 1")


async def test_the_evaluator_and_further_passes_are_given_premium_models(world: World, a_worker: Workers) -> None:
    models = FakeCatalogue(an_offer(a_model("openai/cheap")), an_offer(a_model("openai/best", tier=Tier.PREMIUM)))
    execution, tasks, snapshot = a_team_with_tasks("report")
    execution.refinement_passes, execution.refinement_threshold = 2, 0.8
    await world.add(execution, tasks, snapshot)
    worker = a_worker(models=models, rules=PLAIN)
    worker.runner.verdicts = [scored(0.1), scored(0.9)]

    await worker(execution)

    assert [work.model for work in worker.runner.works] == ["openai/cheap", "openai/best"]
    assert [work.model for work, _ in worker.runner.evaluations] == ["openai/best"] * 2


async def test_a_later_run_goes_on_with_the_passes_that_are_stored(world: World, a_worker: Workers) -> None:
    execution, tasks, snapshot = a_team_with_tasks("report")
    execution.refinement_passes, execution.refinement_threshold = 2, 0.8
    await world.add(execution, tasks, snapshot)
    first = a_worker(report=_first_draft_then_never())
    first.runner.verdicts = [scored(0.1)]
    running = first.begin(execution)
    while first.run.active == 0 or len(first.runner.works) < 2:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    later = a_worker("w2")
    later.runner.verdicts = [scored(0.2)]

    await later(execution)
    first.run.lose(first.runner.works[-1].ownership)
    await running

    ended = await world.execution(execution.id)
    assert ended.output == "report done"
    assert await told(world, execution) == [(1, 0.1, True), (2, 0.2, False)]


def _first_draft_then_never() -> Step:
    async def step(work: TaskWork, _: RunSink) -> str:
        if work.task.attempts == 1:
            return "draft 1"
        await asyncio.Event().wait()
        return ""

    return step
