"""Optimizing a team: rules that find, in its own history, what would make it better, cheaper or faster.

A rule proposes only what the team's figures speak for, says which, and how much it expects to change. What it expects
is a range: its careful end takes half, or a quarter, of what the figures come to, for no team behaves as before.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from domain.model.history import ENOUGH_EXECUTIONS, TeamHistory
from domain.model.optimization import FieldChange, Goal, OptimizationKind
from domain.model.optimizing.better import better_models, failing_guardrails, more_attempts
from domain.model.optimizing.cheaper import cheaper_models, lower_preferences
from domain.model.optimizing.faster import branch_changes, parallel_branches, unused_delegation
from domain.model.optimizing.field_changes import fit
from domain.model.optimizing.proposals import Proposal, Situation
from domain.model.revision import TeamSnapshot

__all__ = ["MOST_PROPOSALS", "RULES", "Proposal", "Situation", "propose", "stands", "why_nothing"]

MOST_PROPOSALS: Final = 20
"""So many at once, those first that are expected to change most."""

Rule = Callable[[Situation], Iterator[Proposal]]
RULES: Final[Mapping[Goal, Sequence[Rule]]] = {
    Goal.COST: (cheaper_models, lower_preferences, unused_delegation),
    Goal.SPEED: (parallel_branches, unused_delegation),
    Goal.PERFORMANCE: (failing_guardrails, better_models, more_attempts),
}


def propose(goal: Goal, situation: Situation) -> list[Proposal]:
    """What the team's history speaks for, what is expected to change most first; nothing while there is too little.

    No two of them change the same field.
    """
    if not situation.history.is_enough:
        return []
    taken: set[tuple[object, str]] = set()
    kept: list[Proposal] = []
    for proposal in (each for rule in RULES[goal] for each in rule(situation)):
        if taken.isdisjoint(proposal.fields):
            taken |= proposal.fields
            kept.append(proposal)
    return sorted(kept, key=lambda each: -each.weight)[:MOST_PROPOSALS]


def stands(kind: OptimizationKind, changes: Sequence[FieldChange], snapshot: TeamSnapshot) -> bool:
    """Whether what was proposed still fits the team as it is.

    Branches hang on the texts of all tasks: those of the team as it is have to lead to the same.
    """
    if not fit(changes, snapshot):
        return False  # before all texts are read
    return kind is not OptimizationKind.PARALLEL_BRANCHES or list(changes) == branch_changes(snapshot)


def why_nothing(history: TeamHistory) -> str:
    """Why nothing is proposed, for people."""
    if history.is_enough:
        return f"Nothing in the last {history.finished} executions that were completed or failed speaks for a change."
    have = f"{history.finished or 'none'} {'is' if history.finished <= 1 else 'are'}"
    return f"There is too little history: {ENOUGH_EXECUTIONS} executions have to be completed or failed, and {have}."
