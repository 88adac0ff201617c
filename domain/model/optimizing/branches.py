"""Branches of a SEQUENTIAL team: which of its tasks use the output of which, and how long they take side by side."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from domain.model.identity import RoleId, TaskId
from domain.model.revision import TeamSnapshot
from domain.model.task import Task, in_order, placeholders, waits_for

Waits = Mapping[TaskId, Sequence[TaskId]]
"""For each task those that it waits for."""

_DEFINITE: Final = (
    r"(?:the|this|that|these|those|its|their|all"
    r"|der|die|das|den|dem|des|dies\w{0,2}|jene\w?|alle\w?|ihre?\w?|seine?\w?|dessen|deren)"
)
_PRODUCTS: Final = (
    r"(?:results?|findings?|outputs?|texts?|drafts?|documents?|articles?|essays?|story|stories|reports?|summary|summaries"
    r"|analys[ie]s|research|notes|lists?|data|code|plans?|outlines?|answers?|translations?|versions?|contents?|proposals?"
    r"|copy|material"
    r"|ergebnis\w*|erkenntnis\w*|befund\w*|textes?|texten?|entw[uü]rf\w*|bericht\w*|dokument\w*|artikels?|artikeln"
    r"|aufs[aä]tz\w*|geschichten?|zusammenfassung\w*|analysen?|recherchen?|notizen|listen?|daten|codes?|pl[aä]ne?\w{0,2}"
    r"|gliederung\w*|antwort\w*|übersetzung\w*|fassung\w*|inhalt\w*|vorschl[aä]g\w*)"
)
_BACKWARDS: Final = re.compile(
    r"\b(?:previous|preceding|foregoing|prior|earlier|above|so far|based on|building on|build on|combine|consolidate"
    r"|merge|synthesi[sz]e"
    r"|vorherig\w*|vorig\w*|bisher\w*|vorangehend\w*|vorangegangen\w*|vorhergehend\w*|obig\w*|zuvor|frühere?\w?|oben"
    r"|daraus|darauf|davon|hieraus|hiervon|anhand|basierend|aufbauend|aufgrund|auf (?:der )?(?:basis|grundlage)"
    r"|zusammen(?:zu)?f[aü]\w*|fass\w*\b.{1,100}?\bzusammen|führ\w*\b.{1,100}?\bzusammen|kombinier\w*|vereinig\w*"
    r"|konsolidier\w*"
    rf"|{_DEFINITE} (?:\w+ ){{0,2}}\w*{_PRODUCTS})\b"
    # Whoever begins with “Translate it” speaks of something that was there before.
    r"|\A\W*\w+ (?:it|them|this|these|those|es|sie|ihn|ihm|dies\w{0,2}|jene\w?)\b",
    re.IGNORECASE,
)
"""What a text says, in English or German, that goes on from whatever was done before it."""

_NAMED: Final = re.compile(rf"\b{_DEFINITE} (?=((?:\w+ ){{0,2}}\w+))", re.IGNORECASE)
"""What a text takes as known: “the long poem”."""

MOST_LETTERS: Final = 2_000
"""A longer text is not looked through: it may speak of anything."""

_LEAST_LETTERS: Final = 4
"""Shorter words of a name say nothing."""

_EMPTY: Final = frozenset({"with", "that", "this", "from", "about", "their", "eine", "nach", "über", "oder", "nicht"})
"""Words that say nothing, either."""

_STEM: Final = 5
"""So many letters have to agree: “researches” speaks of the task “Research”."""


@dataclass(frozen=True, slots=True)
class _Text:
    """What a task's text tells, read once."""

    task: Task
    is_about_all: bool
    stems: frozenset[str]
    known: frozenset[str]
    name: frozenset[str]
    product: frozenset[str]
    inputs: frozenset[str]

    @classmethod
    def of(cls, task: Task) -> "_Text":
        text = " ".join(f"{task.description[: MOST_LETTERS + 1]} \n {task.expected_output[: MOST_LETTERS + 1]}".split())
        return cls(
            task,
            is_about_all=len(text) > MOST_LETTERS or _BACKWARDS.search(text) is not None,
            stems=_stems(text),
            known=_stems(" ".join(_NAMED.findall(text))),
            name=_stems(task.name),
            product=_stems(f"{task.name} {task.expected_output[:MOST_LETTERS]}"),
            inputs=frozenset(placeholders([text])),
        )

    def speaks_of(self, other: "_Text") -> bool:
        """Whether every word of its name that says something is here, or what it makes is taken as known.

        A name of short words may be anywhere.
        """
        return self.is_about_all or other.name <= self.stems or not self.known.isdisjoint(other.product)

    def is_apart(self, other: "_Text") -> bool:
        """Whether it is somebody else's work, or about something else that is given to it at kickoff."""
        has_other_role = None not in (self.task.role_id, other.task.role_id) and self.task.role_id != other.task.role_id
        return has_other_role or bool(self.inputs and other.inputs and self.inputs.isdisjoint(other.inputs))


def used_outputs(snapshot: TeamSnapshot) -> Waits:
    """What each task of a SEQUENTIAL team uses, so that it sees as much if dependencies alone decide.

    What is declared is all that a task sees; without that it sees whatever came before. It does without what its text
    does not speak of, if anything shows that both are apart: other roles, other inputs, or that dependencies are
    declared in this team. The last task uses everything before it, for its output is that of the team.
    """
    ordered = in_order(snapshot.tasks, snapshot.dependencies)
    declared = waits_for(snapshot.tasks, snapshot.dependencies)
    is_declared = any(declared.values())
    texts: list[_Text] = []
    found: dict[TaskId, list[TaskId]] = {}
    for task in ordered:
        own, text = [TaskId(identifier) for identifier in declared[task.id]], _Text.of(task)
        is_last = len(texts) == len(ordered) - 1
        guessed = (
            other.task.id
            for other in texts
            if is_last or text.speaks_of(other) or not (is_declared or text.is_apart(other))
        )
        found[task.id] = sorted(own or guessed)
        texts.append(text)
    return found


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(word[:_STEM] for word in words if len(word) >= _LEAST_LETTERS and word not in _EMPTY)


def seconds_side_by_side(snapshot: TeamSnapshot, waits: Waits, seconds: Mapping[TaskId, float]) -> float:
    """How long the tasks take when whatever is ready runs at once, as far as the team and its roles allow."""
    left = in_order(snapshot.tasks, snapshot.dependencies)
    working: dict[TaskId, float] = {}
    done: set[TaskId] = set()
    now = 0.0
    while left or working:
        for task in _beginning(snapshot, left, waits, working, done):
            working[task.id] = now + seconds[task.id]
            left.remove(task)
        now = min(working.values())
        over = {task_id for task_id, end in working.items() if end <= now}
        done |= over
        working = {task_id: end for task_id, end in working.items() if task_id not in over}
    return now


def _beginning(
    snapshot: TeamSnapshot,
    left: Sequence[Task],
    waits: Waits,
    working: Mapping[TaskId, float],
    done: set[TaskId],
) -> list[Task]:
    """The tasks that begin now."""
    limits = {role.id: role.max_parallel_tasks for role in snapshot.roles}
    places = snapshot.team.max_parallel_tasks - len(working)
    busy = Counter[RoleId | None](task.role_id for task in snapshot.tasks if task.id in working)
    found: list[Task] = []
    for task in left:
        limit = limits.get(task.role_id) if task.role_id else None
        is_free = limit is None or busy[task.role_id] < limit
        if len(found) < places and is_free and done.issuperset(waits[task.id]):
            busy[task.role_id] += 1
            found.append(task)
    return found
