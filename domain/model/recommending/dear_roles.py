"""Roles whose model is of a higher tier than their tasks ask for, and does no better than a cheaper one."""

from collections.abc import Iterator, Sequence

from domain.model.model import Tier
from domain.model.optimization import Evidence, Metric
from domain.model.optimizing.cheaper import cheaper_models
from domain.model.optimizing.proposals import Proposal, effect
from domain.model.recommendation import Recommendation, RecommendationKind
from domain.model.recommending.cases import Case, action_of
from domain.model.recommending.guardrails import often_refused
from domain.model.recommending.records import PastTask, total
from domain.model.role import Role
from domain.model.routing import TIERS, QualityPreference, complexity_of, factors_of, find_offer
from domain.model.task import Task


def dear_roles(case: Case) -> Iterator[Recommendation]:
    """What `cheaper_models` finds, where the cheaper model has passed or is of the tier that the tasks ask for.

    Nothing of a role without tasks, nor of one with a task whose guardrail asks for a better model, not a cheaper one.
    """
    refused = {task.role_id for task, _, _ in often_refused(case)}
    for proposal in cheaper_models(case.situation):
        [change] = proposal.changes
        role = next(role for role in case.snapshot.roles if role.id == change.id)
        done = case.done_as_now(role)
        if not total(done) or refused & {None, role.id}:
            continue
        wanted = _wanted_tier(case, role)
        if _is_proven(case, role, change.after) or _is_of(case, change.after, wanted):
            yield _dear(case, role, proposal, wanted, done)


def _dear(case: Case, role: Role, proposal: Proposal, wanted: Tier, done: Sequence[PastTask]) -> Recommendation:
    [change] = proposal.changes
    saved = (1 - proposal.cost_ratio) * case.share(total(done))
    return Recommendation(
        RecommendationKind.ROLE_DEAR_FOR_TIER,
        f"“{role.title}” is dear for what its tasks ask for",
        f"By their complexity and preference, they ask for the tier {wanted.value}. {proposal.explanation}",
        [*proposal.evidence, Evidence(f"The tasks of “{role.title}” ask for the tier {wanted.value}.")],
        [effect(Metric.COST, -saved, -saved / 2)],
        len({each.execution_id for each in done}),
        role,
        case.snapshot.team.id,
        action_of(change, case.snapshot, f"Let “{role.title}” use {change.after}."),
        case.spent,
    )


def _wanted_tier(case: Case, role: Role) -> Tier:
    """The highest that one of the role's tasks asks for, as routing would reckon."""
    asked = [_tier_of(task, role) for task in case.snapshot.tasks if task.role_id in (None, role.id)]
    return max(asked, key=lambda tier: tier.level, default=Tier.LOCAL)


def _tier_of(task: Task, role: Role) -> Tier:
    complexity = complexity_of(factors_of(task.description, task.expected_output, role.expertise))
    return TIERS[task.quality_preference or QualityPreference.BALANCED, complexity]


def _is_proven(case: Case, role: Role, model: str) -> bool:
    """Whether the role has done its work with that model: `cheaper_models` saw to it that it passed."""
    own = case.situation.history.of_role(role.id)
    return own is not None and any(record.model == model for record in own.models)


def _is_of(case: Case, model: str, wanted: Tier) -> bool:
    offer = find_offer(case.situation.choices.offers, model)
    return offer is not None and offer.model.tier.level >= wanted.level
