"""Use case: which model a piece of work would be given, and why. Nothing is run, and nothing is paid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from domain.errors import RunFailed
from domain.model.identity import TaskId, TenantId
from domain.model.matching import match_role
from domain.model.model import Model, Tier
from domain.model.model_names import forbidden_provider, is_model_name, is_provider_allowed
from domain.model.money import Money
from domain.model.role import Expertise, Role
from domain.model.routing import (
    MOST_ALTERNATIVES,
    Choice,
    Complexity,
    ComplexityFactor,
    Demand,
    QualityPreference,
    Route,
    demand_of,
    factors_of,
    route,
)
from domain.model.rules import Rules
from domain.model.task import Task
from domain.model.tokens import estimated_tokens
from domain.ports import ModelCatalogue, Reader


@dataclass(frozen=True, slots=True)
class PreviewRequest:
    """A stored task; or a description of work, with whoever would do it. `preference` wins over the task's."""

    task_id: TaskId | None = None
    description: str | None = None
    expected_output: str | None = None
    expertise: Expertise | None = None
    model: str | None = None
    preference: QualityPreference | None = None

    def check(self) -> None:
        """Raises Invalid with every broken rule."""
        rules = Rules()
        if (self.task_id is None) == (self.description is None):
            rules.refuse("Give either a task or a description.", "description")
        if self.task_id is not None:
            for value, name in (
                (self.expected_output, "expectedOutput"),
                (self.expertise, "expertise"),
                (self.model, "model"),
            ):
                rules.require(value is None, f"A task brings its own {name}.", name)
        rules.text(self.description, "description")
        rules.text(self.expected_output, "expectedOutput")
        if self.model is not None:
            _check_model(rules, self.model)
        rules.hold()


def _check_model(rules: Rules, model: str) -> None:
    if not is_model_name(model):
        rules.refuse("This is no model name.", "model")
    elif not is_provider_allowed(model):
        rules.refuse(forbidden_provider(model), "model")


@dataclass(frozen=True, slots=True)
class RoutingPreview:
    """What would be decided now. `model` and `estimated_cost` are None where nothing can be used; `reason` says why.

    The cost is the most that one call can come to: about what there is to read, and the longest answer.
    """

    preference: QualityPreference
    complexity: Complexity
    factors: tuple[ComplexityFactor, ...]
    wanted_tier: Tier
    reason: str
    model: Model | None = None
    alternatives: Sequence[Model] = ()
    estimated_cost: Money | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done, and by whom; without a `role`, by somebody of this `expertise`, if that is known."""

    description: str
    expected_output: str
    role: Role | None = None
    expertise: Expertise | None = None
    needs_tools: bool = False
    preference: QualityPreference | None = None
    max_budget: Decimal | None = None


DEFAULT_PREFERENCE: Final = QualityPreference.BALANCED


class PreviewRouting:
    """See `RoutingPreview`. `default_model` is the deployment's, `max_output_tokens` its cap of an answer."""

    def __init__(
        self, reader: Reader, catalogue: ModelCatalogue, default_model: str | None, max_output_tokens: int
    ) -> None:
        self.reader = reader
        self.catalogue = catalogue
        self.default_model = default_model
        self.max_output_tokens = max_output_tokens

    async def __call__(self, tenant_id: TenantId, request: PreviewRequest) -> RoutingPreview | None:
        """The preview; None for an unknown task. Raises Invalid, Unavailable."""
        request.check()
        work = await self._work(tenant_id, request)
        if work is None:
            return None
        demand = self._demand(work, request)
        offers = await self.catalogue.offers(tenant_id, demand.pinned)
        try:
            found = route(offers, demand)
        except RunFailed as failure:
            return _preview(demand, demand.tier, str(failure))
        return _routed(found, demand, work.max_budget)

    async def _work(self, tenant_id: TenantId, request: PreviewRequest) -> _Work | None:
        if request.task_id is not None:
            return await self._work_of(tenant_id, request.task_id)
        return _Work(request.description or "", request.expected_output or "", expertise=request.expertise)

    async def _work_of(self, tenant_id: TenantId, task_id: TaskId) -> _Work | None:
        task = (await self.reader.by_ids(Task, tenant_id, [task_id])).get(task_id)
        if task is None:
            return None
        roles = await self.reader.children(Role, tenant_id, "team_id", [task.team_id], ("position", "id"))
        active = [role for role in roles.get(task.team_id, ()) if role.is_active]
        role = match_role(task, active) if active else None
        tools = await self.reader.tools_by_role(tenant_id, [role.id]) if role else {}
        return _Work(
            task.description,
            task.expected_output,
            role,
            needs_tools=any(tools.values()),
            preference=task.quality_preference,
            max_budget=task.max_budget,
        )

    def _demand(self, work: _Work, request: PreviewRequest) -> Demand:
        role = work.role
        demand = demand_of(
            description=work.description,
            expected_output=work.expected_output,
            role=role,
            preference=request.preference or work.preference or DEFAULT_PREFERENCE,
            default_model=self.default_model,
            needs_tools=work.needs_tools,
            prompt_tokens=estimated_tokens(work.description + work.expected_output),
            output_tokens=(role.max_tokens if role else None) or self.max_output_tokens,
        )
        if role is None:
            factors = factors_of(work.description, work.expected_output, work.expertise)
            demand = replace(demand, factors=factors)
        return replace(demand, pinned=request.model, pinned_by="the request names it") if request.model else demand


def _preview(demand: Demand, wanted_tier: Tier, reason: str) -> RoutingPreview:
    return RoutingPreview(demand.preference, demand.complexity, demand.factors, wanted_tier, reason)


def _routed(found: Route, demand: Demand, max_budget: Decimal | None) -> RoutingPreview:
    wanted = found.first.model.tier if found.is_pinned else demand.tier
    left, reason = _affordable(found, demand, max_budget)
    preview = _preview(demand, wanted, reason)
    if not left:
        return preview
    others = [choice.model for choice in left[1:]]
    return replace(
        preview,
        model=left[0].model,
        alternatives=tuple(others[:MOST_ALTERNATIVES]),
        estimated_cost=Money(_worst(left[0], demand)),
    )


def _affordable(found: Route, demand: Demand, max_budget: Decimal | None) -> tuple[list[Choice], str]:
    """What a run would try within the task's budget, best first, and why: on to lower tiers, as the gateway goes on."""
    left, reason = list(found.choices), found.first.reason
    while left and max_budget is not None and _worst(left[0], demand) > max_budget:
        short = left.pop(0)
        left = [other for other in found.cheaper_than(short) if other in left]
        reason = f"The task's budget does not suffice for {short.model.name}" + (": a cheaper tier." if left else ".")
    return left, reason


def _worst(choice: Choice, demand: Demand) -> Decimal:
    longest = choice.deployment.max_output_tokens or demand.output_tokens
    return choice.deployment.prices.worst(demand.prompt_tokens, min(demand.output_tokens, longest))
