"""Who does which task of a run: by the task itself, by its manager, or by skill, load and past success."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from domain.errors import NoActiveRole, TooManyTasks
from domain.model.identity import RoleId, TaskId
from domain.model.role import Role, most_senior
from domain.model.task import Task
from domain.model.team import Process, Team

MOST_RECORDS = 200
"""How many of a role's last tasks tell its success: what it did long ago, with another model, says little."""

MOST_SHOWN = 5
MOST_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Record:
    """How the last tasks of a role ended, in whatever execution."""

    completed: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        return self.completed + self.failed

    @property
    def success(self) -> float:
        """The share that was completed, 0 to 1; 0.5 of a role that finished none yet.

        Laplace's rule of succession: one task that went well does not beat a hundred of which two failed.
        """
        return (self.completed + 1) / (self.finished + 2)


_UNTRIED = Record()


@dataclass(frozen=True, slots=True)
class Assignment:
    """The role that does a task, and a sentence that says why."""

    role: Role
    reason: str


def manager_of(team: Team, roles: Sequence[Role]) -> Role:
    """Who leads a HIERARCHICAL run: the named manager while active, else the most senior active role.

    Raises NoActiveRole.
    """
    named = next((role for role in roles if role.id == team.manager_id and role.is_active), None)
    return named or senior_of(roles)


def senior_of(roles: Sequence[Role]) -> Role:
    """The most senior active role; raises NoActiveRole."""
    found = most_senior(roles)
    if found is None:
        raise NoActiveRole
    return found


def needs_records(team: Team, roles: Sequence[Role], tasks: Sequence[Task]) -> bool:
    """Whether past success can decide who does one of the tasks."""
    active = {role.id for role in roles if role.is_active}
    if team.process is Process.HIERARCHICAL or len(active) == 1:
        return False
    return any(task.role_id not in active for task in tasks)


@dataclass(slots=True)
class Matching:
    """Gives out the tasks of one run; knows how many each role was given so far.

    `active` are the roles that may do something, `manager` does what nobody is named for, if there is one. `records` is
    None where nobody asked for them; a role without one finished nothing yet.
    """

    active: Sequence[Role]
    records: Mapping[RoleId, Record] | None = None
    manager: Role | None = None
    load: Counter[RoleId] = field(default_factory=Counter)
    _skills: dict[RoleId, frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        # Once, not for each task: a hundred tasks may ask a hundred roles for a hundred skills each.
        self._skills = {role.id: frozenset(skill.casefold() for skill in role.skills) for role in self.active}

    def assign(self, tasks: Sequence[Task]) -> dict[TaskId, Assignment]:
        """Who does each of the tasks; those with a role of their own first, so that matching sees the whole load.

        Raises TooManyTasks when a role would be given more than its `max_tasks`.
        """
        by_id = {role.id: role for role in self.active}
        own = {task.id: by_id[task.role_id] for task in tasks if task.role_id in by_id}
        found = {task.id: self.give(own[task.id], task.name, "Its own role.") for task in tasks if task.id in own}
        for task in tasks:
            if task.id not in own:
                found[task.id] = self._match(task)
        return found

    def give(self, role: Role, name: str, reason: str) -> Assignment:
        """The task of this name goes to the role. Raises TooManyTasks."""
        if not self._has_room(role):
            raise TooManyTasks(name, [(role.title, role.max_tasks or 0)])
        self.load[role.id] += 1
        return Assignment(role, reason)

    def _has_room(self, role: Role) -> bool:
        return role.max_tasks is None or self.load[role.id] < role.max_tasks

    def _match(self, task: Task) -> Assignment:
        gone = "" if task.role_id is None else "Its own role is not active. "
        if self.manager:
            return self.give(self.manager, task.name, f"{gone}The manager: no active role is named for it.")
        free = [role for role in self.active if self._has_room(role)]
        if not free:
            raise TooManyTasks(task.name, [(role.title, role.max_tasks or 0) for role in self.active])
        wanted = _needed(task)
        best = max(free, key=lambda role: (*self._merit(role, wanted), role.expertise.level, -role.position))
        return self.give(best, task.name, gone + self._reason(best, wanted))

    def _merit(self, role: Role, wanted: Mapping[str, str]) -> tuple[int, int, float]:
        """What counts, in this order: skills covered, few tasks so far, past success."""
        return len(self._covered(role, wanted)), -self.load[role.id], self._record(role).success

    def _covered(self, role: Role, wanted: Mapping[str, str]) -> list[str]:
        known = self._skills[role.id]
        return [skill for folded, skill in wanted.items() if folded in known]

    def _record(self, role: Role) -> Record:
        return (self.records or {}).get(role.id, _UNTRIED)

    def _reason(self, role: Role, wanted: Mapping[str, str]) -> str:
        covered = self._covered(role, wanted)
        if not wanted:
            match = "Matched without skills, for it asks for none"
        elif not covered:
            match = f"Matched although no role that is free has a skill it asks for ({_listed(list(wanted.values()))})"
        else:
            match = f"Matched by skills: {_listed(covered)} ({len(covered)} of {len(wanted)})"
        past = "" if self.records is None else f"; {_success(self._record(role))}"
        return f"{match}; {_tasks(self.load[role.id])} so far{past}."


def match_role(task: Task, active: Sequence[Role]) -> Role:
    """Who would do the task if it were the only one of a run; load and past success do not count."""
    return Matching(active).assign([task])[task.id].role


def _needed(task: Task) -> dict[str, str]:
    """The skills that are asked for, each once, as they are compared and as they are written."""
    return {skill.casefold(): skill for skill in task.required_skills}


def _listed(skills: Sequence[str]) -> str:
    shown = [_short(skill) for skill in skills[:MOST_SHOWN]]
    return ", ".join(shown if len(skills) <= MOST_SHOWN else [*shown, "…"])


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN_CHARACTERS else f"{text[: MOST_SHOWN_CHARACTERS - 1]}…"


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _success(record: Record) -> str:
    if not record.finished:
        return "it has finished no task yet"
    return f"{100 * record.completed // record.finished} % of its tasks succeeded"
