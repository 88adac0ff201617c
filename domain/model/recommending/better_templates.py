"""Templates whose teams do clearly better than a team's own set-up, at work of the same kind."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from math import comb
from typing import Final

from domain.model.history import ENOUGH_EXECUTIONS
from domain.model.optimization import Evidence, ExpectedEffect, Metric
from domain.model.optimizing.better import OF_THE_WORK
from domain.model.optimizing.proposals import effect
from domain.model.recommendation import (
    Recommendation,
    RecommendationKind,
    RecommendedAction,
    Reference,
    TemplateRecord,
)
from domain.model.recommending.cases import Case
from domain.model.rules import MAX_NAME

CHANCE: Final = 0.05
"""Of all templates that a team is compared with, one in twenty such differences at most is chance."""

LEAST_GAIN: Final = 0.1
"""Of a success rate; less is not worth another team, however sure it is."""

CLEARLY_CHEAPER: Final = 0.5
ENOUGH_COMPLETED: Final = 10
"""At half of the cost at most, and with so many completed executions on each side: how costs spread is not known."""

_OF_THE_WORK: Final = frozenset(code.value for code in OF_THE_WORK)


def better_templates(case: Case) -> Iterator[Recommendation]:
    """At most one: of those that are alike, the one whose teams succeed most, then cost least."""
    alike = [record for record in case.templates if _is_alike(case, record)]
    better = [record for record in alike if _is_better(case, record, len(alike))]
    best = min(better, key=lambda record: (-_rate(record.completed, record.finished), _cost(record)), default=None)
    if best is not None:
        yield _better(case, best)


def _is_alike(case: Case, record: TemplateRecord) -> bool:
    """Of the same domain as the team's own template, or its teams have at least half of this team's skills.

    None that a team in the same project was made of: there it stands to be compared, or is this one.
    """
    is_there = record.template.id == case.origin or case.snapshot.team.project_id in record.projects
    if is_there or record.finished < ENOUGH_EXECUTIONS:
        return False
    domain = next((other.template.domain for other in case.templates if other.template.id == case.origin), "")
    own = {skill.casefold() for role in case.snapshot.roles for skill in role.skills}
    is_at_home = bool(domain) and record.template.domain.casefold() == domain.casefold()
    return is_at_home or bool(own and 2 * len(own & record.skills) >= len(own))


def _is_better(case: Case, record: TemplateRecord, compared: int) -> bool:
    """By a success rate that chance does not explain, among so many that are compared (Bonferroni), or by cost."""
    completed, finished = _own(case)
    if finished < ENOUGH_EXECUTIONS:
        return False
    gain = _rate(record.completed, record.finished) - _rate(completed, finished)
    if gain >= LEAST_GAIN:
        return chance_of(record.completed, record.finished, completed, finished) <= CHANCE / compared
    ratio, fewest = _cost_ratio(case, record), min(completed, record.completed)
    return gain >= 0 and fewest >= ENOUGH_COMPLETED and ratio is not None and ratio <= CLEARLY_CHEAPER


def _own(case: Case) -> tuple[int, int]:
    """How many executions of the team were completed, and how many those and the failures of the work are."""
    completed = sum(run.is_completed for run in case.past.runs)
    return completed, completed + sum(run.failure_code in _OF_THE_WORK for run in case.past.runs)


def chance_of(completed: int, finished: int, other_completed: int, other_finished: int) -> float:
    """How probable so many completed ones, or more, are on the one side, if both sides do as well.

    Fisher's exact test, one-sided: R. A. Fisher, Statistical Methods for Research Workers, 5th ed. (1934), § 21.02.
    Of all ways in which the completed ones could fall on both sides, those with as many on the one.
    """
    whole, ended = completed + other_completed, finished + other_finished
    ways = sum(
        comb(finished, each) * comb(other_finished, whole - each) for each in range(completed, min(finished, whole) + 1)
    )
    return ways / comb(ended, whole)


def _rate(completed: int, finished: int) -> float:
    return completed / finished if finished else 0.0


def _cost(record: TemplateRecord) -> Decimal:
    return record.mean_amount or Decimal(0)


def _own_cost(case: Case) -> Decimal | None:
    """What a completed execution of the team costs on the mean; None of none."""
    done = {run.id for run in case.past.runs if run.is_completed}
    paid = sum((each.cost for each in case.past.tasks if each.execution_id in done), Decimal(0))
    return paid / len(done) if done else None


def _cost_ratio(case: Case, record: TemplateRecord) -> float | None:
    own = _own_cost(case)
    return None if not own or record.mean_amount is None else float(record.mean_amount / own)


def _better(case: Case, record: TemplateRecord) -> Recommendation:
    (completed, finished), name = _own(case), record.template.name
    return Recommendation(
        RecommendationKind.TEMPLATE_DOES_BETTER,
        f"Teams made of “{name}” do better than “{case.snapshot.team.name}”",
        f"Their work is of the same kind, by domain or skills; whether it is the same work, only people know. Make a"
        f" team of “{name}” beside this one and compare what both do.",
        [
            Evidence(
                f"Of {record.teams} teams made of “{name}”, {record.completed} of {record.finished} executions were"
                " completed, not counting failures that are none of the work.",
                _rate(record.completed, record.finished),
            ),
            Evidence(
                f"Of “{case.snapshot.team.name}”, {completed} of {finished} were.",
                _rate(completed, finished),
            ),
            *_of_cost(case, record),
        ],
        _effects(case, record),
        finished + record.finished,
        record.template,
        case.snapshot.team.id,
        _action(case, record),
        case.spent,
    )


def _of_cost(case: Case, record: TemplateRecord) -> Sequence[Evidence]:
    own = _own_cost(case)
    if own is None or record.mean_amount is None:
        return []
    text = f"A completed execution costs ${record.mean_amount:.4f} with the template, ${own:.4f} without."
    return [Evidence(text, float(record.mean_amount))]


def _effects(case: Case, record: TemplateRecord) -> Sequence[ExpectedEffect]:
    """The differences; what they mainly speak for first."""
    (completed, finished), ratio = _own(case), _cost_ratio(case, record)
    gain = _rate(record.completed, record.finished) - _rate(completed, finished)
    success = [effect(Metric.SUCCESS_RATE, gain / 4, gain)] if gain > 0 else []
    cost = [] if ratio is None or ratio == 1 else [effect(Metric.COST, ratio - 1, (ratio - 1) / 2)]
    return [*success, *cost] if gain >= LEAST_GAIN else [*cost, *success]


def _action(case: Case, record: TemplateRecord) -> RecommendedAction:
    team, template = case.snapshot.team, record.template
    arguments = {
        "templateId": Reference("Template", template.id),
        "projectId": Reference("Project", team.project_id),
        "name": f"{team.name} ({template.name})"[:MAX_NAME],
    }
    text = f"Make a team of “{template.name}” in the same project."
    needs = [f"parameters.{name}" for name in record.needs]
    return RecommendedAction("instantiateTemplate", arguments, text, needs)
