"""Refinement: passes over the last task of an execution until an evaluator finds its output good enough."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from domain.model.identity import ExecutionId, TaskExecutionId, TenantId, utc_now
from domain.model.rules import Rules

MAX_PASSES = 3
MAX_PASSES_CAP = 10
THRESHOLD = 0.8
CRITERIA = ("completeness", "clarity", "actionability", "professional_quality")

SCORE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "number", "minimum": 0, "maximum": 1} for name in CRITERIA},
        "critique": {"type": "string"},
    },
    "required": [*CRITERIA, "critique"],
}
"""What the evaluator answers: a score from 0 to 1 for each criterion, and what would have to be better."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """How an execution is refined: at most so many passes, until the mean score reaches the threshold."""

    max_passes: int = MAX_PASSES
    threshold: float = THRESHOLD

    def check(self, rules: Rules) -> None:
        """Refuse what is out of bounds."""
        rules.between(self.max_passes, 1, MAX_PASSES_CAP, "refinement", "maxPasses")
        rules.between(self.threshold, 0, 1, "refinement", "threshold")


@dataclass(slots=True)
class RefinementPass:
    """One pass, numbered from 1: its output and what the evaluator found.

    `score` is the mean of `scores`. Without a score, `error` says what went wrong: a number is never made up.
    """

    tenant_id: TenantId
    execution_id: ExecutionId
    task_execution_id: TaskExecutionId
    number: int
    output: str
    scores: dict[str, float] | None = None
    score: float | None = None
    critique: str | None = None
    error: str | None = None
    created_at: datetime = field(default_factory=utc_now)

    @property
    def criteria(self) -> "list[CriterionScore]":
        """The scores by criterion; empty without scores."""
        return [CriterionScore(name, score) for name, score in (self.scores or {}).items()]


@dataclass(frozen=True, slots=True)
class CriterionScore:
    """What the evaluator gave for one criterion, 0 to 1."""

    criterion: str
    score: float


class ScoreUnreadable(ValueError):
    """The evaluator did not answer with scores."""


def scores_in(text: str) -> tuple[dict[str, float], str]:
    """The scores by criterion and the critique in an evaluator's answer. Raises ScoreUnreadable."""
    try:
        found = json.loads(text)
        scores = {name: float(found[name]) for name in CRITERIA}
        critique = str(found["critique"])
    except (ValueError, TypeError, KeyError) as error:
        raise ScoreUnreadable("The evaluator's answer has no scores.") from error
    if not all(0 <= score <= 1 for score in scores.values()):  # NaN is not in between, either
        raise ScoreUnreadable("The evaluator's scores are not between 0 and 1.")
    return scores, critique


def mean(scores: Mapping[str, float]) -> float:
    """The score of a pass; the criteria count the same."""
    return sum(scores.values()) / len(scores)


def best_of(passes: Sequence[RefinementPass]) -> RefinementPass | None:
    """The pass with the highest score, the earliest of equals; without any score the first one."""
    return max(passes, key=lambda each: (-1.0 if each.score is None else each.score, -each.number), default=None)


def is_enough(refinement: Refinement, passes: Sequence[RefinementPass]) -> bool:
    """Whether there is no further pass: good enough, tried often enough, or the evaluator does not work."""
    last = passes[-1]
    return last.score is None or last.score >= refinement.threshold or len(passes) >= refinement.max_passes


@dataclass(frozen=True, slots=True)
class RefinementReport:
    """What refinement came to so far: the passes in order, the number of the best one, and what it gained."""

    passes: Sequence[RefinementPass]

    @property
    def best_pass(self) -> int | None:
        best = best_of(self.passes)
        return best.number if best else None

    @property
    def gain(self) -> float | None:
        return gain_of(self.passes)


def gain_of(passes: Sequence[RefinementPass]) -> float | None:
    """How much better the best pass is than the first one; None without scores."""
    best, first = best_of(passes), passes[0].score if passes else None
    return None if best is None or best.score is None or first is None else best.score - first


def evaluation_prompt(description: str, expected_output: str, output: str) -> str:
    """What the evaluator is asked."""
    return (
        "Evaluate the result of a task. Be strict and fair, and look only at what is there.\n\n"
        f"The task:\n{description}\n\nWhat was expected:\n{expected_output}\n\nThe result:\n{output}\n\n"
        "Give a score from 0 to 1 for each of: completeness (everything that was asked for is there), clarity, "
        "actionability (the reader knows what to do), professional_quality. In the critique say what would have to "
        "change for a better score, concretely.\n"
        f"Answer with nothing but JSON that holds this JSON Schema: {json.dumps(SCORE_SCHEMA)}"
    )
