"""What is said of a team before it runs: findings, estimates, matches with their reasons; and of objectives."""

import strawberry

from domain.model.estimate import Basis
from domain.model.model import Tier
from domain.model.routing import Complexity
from domain.model.team import Process
from domain.model.tool import ToolKind
from domain.model.validation import FindingCode, Severity
from resolvers.assessment_loaders import OutcomeBySkill
from resolvers.edges import computed, loaded_by
from resolvers.node_ids import node_id
from schema.types.values import Money


@strawberry.type(description="A whole number that is not known exactly.")
class IntSpan:
    low: int = strawberry.field(description="The least that it may well be.")
    high: int = strawberry.field(description="The most that it may well be.")


@strawberry.type(description="A number that is not known exactly.")
class FloatSpan:
    low: float = strawberry.field(description="The least that it may well be.")
    high: float = strawberry.field(description="The most that it may well be.")


@strawberry.type(description="An amount of money that is not known exactly.")
class MoneySpan:
    low: Money = strawberry.field(description="The least that it may well be.")
    high: Money = strawberry.field(description="The most that it may well be.")


@strawberry.type(description="What one task would take.")
class TaskEstimate:
    name: str = strawberry.field(description="The task.")
    role: str | None = strawberry.field(description="The role that would do it; null where nobody can.")
    model: str | None = strawberry.field(description="The model that would be chosen; null where none can be used.")
    tier: Tier | None = strawberry.field(description="The model's tier.")
    prompt_tokens: IntSpan = strawberry.field(description="Tokens that models would read.")
    completion_tokens: IntSpan = strawberry.field(description="Tokens that models would write.")
    cost: MoneySpan = strawberry.field(description="What it would cost.")
    seconds: FloatSpan = strawberry.field(description="How long it would take.")
    basis: Basis = strawberry.field(description="On what this stands.")
    reason: str = strawberry.field(description="How the model is chosen, and what the figures stand on, for people.")


@strawberry.type(description="What an execution would take, before anything is spent.")
class Estimate:
    tasks: list[TaskEstimate] = strawberry.field(description="Each task.")
    prompt_tokens: IntSpan = strawberry.field(description="Tokens that models would read.")
    completion_tokens: IntSpan = strawberry.field(description="Tokens that models would write.")
    cost: MoneySpan = strawberry.field(description="What it would cost.")
    seconds: FloatSpan = strawberry.field(
        description="How long it would take, along the longest way through the tasks."
    )
    basis: Basis = strawberry.field(description="On what this stands.")
    reason: str = strawberry.field(description="What the figures stand on, for people.")


@strawberry.type(description="How likely an execution is to complete.")
class SuccessEstimate:
    probability: FloatSpan = strawberry.field(description="0 to 1.")
    basis: Basis = strawberry.field(description="On what this stands.")
    executions: int = strawberry.field(description="How many executions were looked at; 0 for a heuristic.")
    reason: str = strawberry.field(description="The same, for people.")


@strawberry.type(description="One thing that was found about a team.")
class Finding:
    severity: Severity = strawberry.field(description="How much it matters.")
    code: FindingCode = strawberry.field(description="What it is, for programs.")
    message: str = strawberry.field(description="What it is, for people.")
    subject: str | None = strawberry.field(description="The role, task or tool it is about; null: the team.")
    suggestion: str | None = strawberry.field(description="What may help; null when there is nothing to say.")


@strawberry.type(description="All that was found about a team, and what it would take.")
class Validation:
    is_valid: bool = strawberry.field(description="Whether there is no error.")
    errors: list[Finding] = strawberry.field(description="Why it cannot do its work.")
    warnings: list[Finding] = strawberry.field(description="What is probably not meant so.")
    recommendations: list[Finding] = strawberry.field(description="What could be better.")
    estimate: Estimate | None = strawberry.field(description="What an execution would take; null where errors forbid.")
    success: SuccessEstimate | None = strawberry.field(description="How likely it completes; null as above.")


@strawberry.type(description="One part of a score.")
class Reason:
    text: str = strawberry.field(description="Why.")
    points: float = strawberry.field(description="What it gave.")
    of: float = strawberry.field(description="What it could have given.")


@strawberry.type(description="How well something fits, and why.")
class Match:
    score: float = strawberry.field(description="0 to 1: the sum of what the reasons gave.")
    reasons: list[Reason] = strawberry.field(description="What it is the sum of.")


@strawberry.type(description="What became of a tenant's accepted teams whose roles have a skill.")
class SkillOutcome:
    teams: int = strawberry.field(description="How many such teams there are.")
    completed: int = strawberry.field(description="How many executions of them completed.")
    failed: int = strawberry.field(description="How many failed.")
    success_rate: float | None = strawberry.field(description="0 to 1; null while none is over.")
    mean_rating: float | None = strawberry.field(description="What people said of the generations, 1 to 5.")


@strawberry.type(description="An entry of the skill catalogue.")
class Skill:
    name: str = strawberry.field(description="What it is called.")
    description: str = strawberry.field(description="What it means.")
    role_titles: list[str] = strawberry.field(description="Titles of roles that have it.")
    tool_kinds: list[ToolKind] = strawberry.field(description="Kinds of tools that it goes with.")
    task_kinds: list[str] = strawberry.field(description="Kinds of tasks that need it.")
    keywords: list[str] = strawberry.field(description="Words of an objective that speak for it.")
    domains: list[str] = strawberry.field(description="Where it is at home.")
    outcome: SkillOutcome | None = loaded_by(
        OutcomeBySkill, "What became of your accepted teams with it; null where there is none.", key="name"
    )


@strawberry.type(description="A skill that an objective asks for.")
class SkillMatch:
    skill: Skill = strawberry.field(description="The skill.")
    match: Match = strawberry.field(description="How well it fits.")


@strawberry.type(description="How well a role fits a task.")
class RoleMatch:
    role: str = strawberry.field(description="The role's title.")
    match: Match = strawberry.field(description="How well it fits.")


@strawberry.type(description="A template that is near to an objective.")
class TemplateMatch:
    template_id: strawberry.ID = computed(
        lambda found: node_id("Template", found.template_id), "The template; `template(id:)` finds it."
    )
    name: str = strawberry.field(description="What it is called.")
    match: Match = strawberry.field(description="How well it fits.")


@strawberry.type(description="What rules make of an objective; no model is asked, and nothing is spent.")
class ObjectiveAnalysis:
    complexity: Complexity = strawberry.field(description="How hard it looks.")
    factors: list[str] = strawberry.field(description="What makes it so, in words.")
    domain: str | None = strawberry.field(description="Where it is at home; null where that is not recognised.")
    skills: list[SkillMatch] = strawberry.field(description="What it asks for, best match first.")
    roles: IntSpan = strawberry.field(description="How many roles it takes.")
    process: Process = strawberry.field(description="The process that suits it.")
    templates: list[TemplateMatch] = strawberry.field(description="Templates that are near, best match first.")
