"""The past that recommendations stand on: executions and their tasks, one by one, and a team's history made of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from statistics import quantiles
from typing import Final
from uuid import UUID

from domain.model.history import ModelRecord, Quantiles, RoleHistory, TaskHistory, TaskRecord, TeamHistory
from domain.model.identity import TaskId, TeamId
from domain.model.model import Tier
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.task import Task

_TENTHS: Final = 10


@dataclass(frozen=True, slots=True)
class PastRun:
    """An execution that was completed or failed; `seconds` without those in which a person was waited for."""

    id: UUID
    team_id: UUID
    created_at: datetime
    is_completed: bool
    seconds: float
    failure_code: str | None = None


@dataclass(frozen=True, slots=True)
class PastTask:
    """A task of such an execution, with what its calls took: tokens, and dollars.

    `created_at` is the execution's. `refused` and `passed` count what its guardrail said.
    """

    execution_id: UUID
    created_at: datetime
    task_id: UUID | None
    role_id: UUID
    is_completed: bool
    seconds: float
    model: str | None = None
    attempts: int = 1
    failure_code: str | None = None
    cost: Decimal = Decimal(0)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    refused: int = 0
    passed: int = 0


@dataclass(frozen=True)
class TeamPast:
    """What a team did, the newest first. Its tasks are gone through once, and found by task and by role from then on.

    `watched` are the executions of which it is known which tools were called; `called` names them, by execution and
    role.
    """

    team_id: TeamId
    runs: Sequence[PastRun] = ()
    tasks: Sequence[PastTask] = ()
    watched: frozenset[UUID] = frozenset()
    called: Mapping[tuple[UUID, UUID], frozenset[str]] = field(default_factory=dict)

    def of_task(self, task: Task, role: Role | None) -> list[PastTask]:
        """What was done of the task since neither it nor its role was edited."""
        since = max(task.updated_at, role.updated_at) if role else task.updated_at
        return [past for past in self._by_task.get(task.id, ()) if past.created_at >= since]

    def of_role(self, role: Role) -> Sequence[PastTask]:
        """What the role did, edited since or not."""
        return self._by_role.get(role.id, ())

    @cached_property
    def _by_task(self) -> Mapping[UUID | None, Sequence[PastTask]]:
        return _grouped(self.tasks, lambda past: past.task_id)

    @cached_property
    def _by_role(self) -> Mapping[UUID | None, Sequence[PastTask]]:
        return _grouped(self.tasks, lambda past: past.role_id)


def _grouped(
    tasks: Iterable[PastTask], key: Callable[[PastTask], UUID | None]
) -> Mapping[UUID | None, Sequence[PastTask]]:
    found: dict[UUID | None, list[PastTask]] = defaultdict(list)
    for each in tasks:
        found[key(each)].append(each)
    return found


def history_of(snapshot: TeamSnapshot, past: TeamPast, tiers: Mapping[str, Tier]) -> TeamHistory:
    """The past in the form in which optimizing rules read it; `tiers` are those of the models that are known.

    Each task is told of since it was last edited.
    """
    completed = [run for run in past.runs if run.is_completed]
    failed = [run for run in past.runs if not run.is_completed]
    return TeamHistory(
        past.team_id,
        completed=len(completed),
        failed=len(failed),
        seconds=_quantiles([run.seconds for run in completed]),
        failures=Counter(run.failure_code for run in failed if run.failure_code),
        tasks=[task_history(task, past.of_task(task, None)) for task in snapshot.tasks],
        roles=[_role_history(role, past, tiers) for role in snapshot.roles],
    )


def task_history(task: Task, own: Sequence[PastTask]) -> TaskHistory:
    """What was done of a task, summed up."""
    completed = [each for each in own if each.is_completed]

    def spread(figure: Callable[[PastTask], float]) -> Quantiles | None:
        return _quantiles([figure(each) for each in completed])

    return TaskHistory(
        task.id,
        task.name,
        completed=len(completed),
        failed=len(own) - len(completed),
        retried=sum(each.attempts > 1 for each in own),
        guardrail_failures=sum(each.refused for each in own),
        guardrail_failed=sum(each.failure_code == "GUARDRAIL_FAILED" for each in own),
        seconds=spread(lambda each: each.seconds),
        prompt_tokens=spread(lambda each: each.prompt_tokens),
        completion_tokens=spread(lambda each: each.completion_tokens),
        cost=spread(lambda each: float(each.cost)),
        total_cost=total(own),
        calls=spread(lambda each: each.calls),
    )


def _role_history(role: Role, past: TeamPast, tiers: Mapping[str, Tier]) -> RoleHistory:
    own = past.of_role(role)
    by_model: dict[str, list[PastTask]] = defaultdict(list)
    for each in own:
        if each.model:
            by_model[each.model].append(each)
    completed = sum(each.is_completed for each in own)
    return RoleHistory(
        role.id,
        role.title,
        completed=completed,
        failed=len(own) - completed,
        total_cost=total(own),
        models=[_model_record(name, tiers.get(name), done) for name, done in sorted(by_model.items())],
    )


def _model_record(name: str, tier: Tier | None, done: Sequence[PastTask]) -> ModelRecord:
    by_task: dict[UUID | None, list[PastTask]] = defaultdict(list)
    for each in done:
        by_task[each.task_id].append(each)
    completed = sum(each.is_completed for each in done)
    return ModelRecord(
        name,
        tier,
        completed=completed,
        failed=len(done) - completed,
        mean_cost=round(total(done) / len(done), 12),
        mean_seconds=sum(each.seconds for each in done) / len(done),
        tasks=[_task_record(task_id, own) for task_id, own in by_task.items()],
    )


def _task_record(task_id: UUID | None, done: Sequence[PastTask]) -> TaskRecord:
    completed = sum(each.is_completed for each in done)
    return TaskRecord(None if task_id is None else TaskId(task_id), completed, len(done) - completed, total(done))


def total(tasks: Iterable[PastTask]) -> Decimal:
    """What all of them cost, in dollars."""
    return sum((each.cost for each in tasks), Decimal(0))


def _quantiles(values: Sequence[float]) -> Quantiles | None:
    """The tenth, fiftieth and ninetieth percentile, as PostgreSQL's percentile_cont has them; None of nothing."""
    if not values:
        return None
    if len(values) == 1:
        return Quantiles(*[float(values[0])] * 3)
    cuts = quantiles(values, n=_TENTHS, method="inclusive")
    return Quantiles(cuts[0], cuts[4], cuts[8])
