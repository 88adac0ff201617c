"""Tasks that a kickoff brings for its one execution, in the place of the team's own."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from domain.errors import DependencyCycle, Invalid
from domain.model.revision import TeamSnapshot
from domain.model.rules import MAX_NAME, Rules
from domain.model.task import PRIORITY, Task, TaskDependency, check_dependencies
from domain.model.team import Team

MOST_BROUGHT = 50


@dataclass(frozen=True, slots=True)
class BroughtTask:
    """A task as a kickoff words it. `name` None: one is made; `depends_on` names others of the same kickoff."""

    description: str
    expected_output: str
    kind: str = ""
    required_skills: tuple[str, ...] = ()
    name: str | None = None
    priority: int = PRIORITY
    depends_on: tuple[str, ...] = ()


def with_tasks(snapshot: TeamSnapshot, brought: Sequence[BroughtTask]) -> TeamSnapshot:
    """The team with these tasks in the place of its own; raises as `tasks_of`."""
    tasks, dependencies = tasks_of(snapshot.team, brought)
    return replace(snapshot, tasks=tasks, dependencies=dependencies)


def tasks_of(team: Team, brought: Sequence[BroughtTask]) -> tuple[list[Task], list[TaskDependency]]:
    """The brought tasks as tasks of the team; they are stored nowhere, so their ids name nothing.

    Raises Invalid with every broken rule, and DependencyCycle, located under `tasks`.
    """
    if len(brought) > MOST_BROUGHT:
        raise Invalid.at(f"At most {MOST_BROUGHT} tasks.", "tasks")
    named = enumerate(zip(brought, _names(brought), strict=True))
    tasks = [_task(team, one, name, place) for place, (one, name) in named]
    rules = Rules("tasks")
    for place, task in enumerate(tasks):
        _check(rules, task, place)
    _check_names(rules, tasks)
    dependencies = _dependencies(rules, brought, tasks)
    rules.hold()
    try:
        check_dependencies(tasks, dependencies)
    except DependencyCycle as error:
        raise error.under("tasks") from None
    return tasks, dependencies


def _names(brought: Sequence[BroughtTask]) -> list[str]:
    """The given names; else the kind or “Task”, with a number where others are called so."""
    taken = {one.name for one in brought}
    names: list[str] = []
    for one in brought:
        names.append(one.name if one.name is not None else _made(one, taken))
        taken.add(names[-1])
    return names


def _made(one: BroughtTask, taken: Collection[str | None]) -> str:
    kind = "".join(filter(str.isprintable, " ".join(one.kind.split())))  # what a name may not have
    stem = kind[: MAX_NAME - 4] or "Task"
    numbered = (f"{stem} {number}" for number in range(2, MOST_BROUGHT + 2))
    return next(name for name in (stem, *numbered) if name not in taken)


def _task(team: Team, one: BroughtTask, name: str, position: int) -> Task:
    return Task(
        team.tenant_id,
        team.id,
        name,
        one.description,
        one.expected_output,
        kind=one.kind,
        required_skills=list(one.required_skills),
        priority=one.priority,
        position=position,
    )


def _check(rules: Rules, task: Task, place: int) -> None:
    try:
        task.check()
    except Invalid as error:
        for problem in error.problems:
            rules.refuse(problem.message, str(place), *problem.path)


def _check_names(rules: Rules, tasks: Sequence[Task]) -> None:
    counts = Counter(task.name for task in tasks)
    for place, task in enumerate(tasks):
        rules.require(counts[task.name] == 1, "Another task has this name.", str(place), "name")


def _dependencies(rules: Rules, brought: Sequence[BroughtTask], tasks: Sequence[Task]) -> list[TaskDependency]:
    by_name = {task.name: task.id for task in tasks}
    found: dict[TaskDependency, None] = {}
    for place, (one, task) in enumerate(zip(brought, tasks, strict=True)):
        rules.require(len(one.depends_on) <= MOST_BROUGHT, f"At most {MOST_BROUGHT} entries.", str(place), "dependsOn")
        for number, name in enumerate(one.depends_on[:MOST_BROUGHT]):
            if name in by_name:
                found[TaskDependency(task.tenant_id, task.team_id, task.id, by_name[name])] = None
            else:
                rules.refuse("No task of this kickoff has this name.", str(place), "dependsOn", str(number))
    return list(found)
