"""What is said in the graph of teams and objectives before anything runs: queries that write and pay nothing."""

from collections.abc import Sequence
from typing import Annotated, Final

import strawberry
from strawberry.scalars import JSON

from domain.errors import Invalid, NotFound
from domain.model.analysis import ObjectiveAnalysis
from domain.model.estimate import Estimate
from domain.model.generation import MAX_OBJECTIVE
from domain.model.identity import ProjectId, TaskId, TeamId
from domain.model.routing import QualityPreference
from domain.model.skill import RoleMatch, Skill
from domain.model.validation import Validation
from domain.services.assessment import MOST_SEARCHED, MOST_SKILLS, find_skills
from resolvers.blueprints import BlueprintInput, blueprint_from
from resolvers.context import Info
from resolvers.generation_inputs import ConstraintsInput, constraints_from
from resolvers.loaders import ProjectById
from resolvers.node_ids import uuid_of

DEFAULT_SKILLS: Final = 20

_Objective = Annotated[
    str,
    strawberry.argument(
        description=f"What a team is to achieve, in any language; at most {MAX_OBJECTIVE:,} characters."
    ),
]
_Constraints = Annotated[
    ConstraintsInput | None, strawberry.argument(description="What a team has to keep to; nothing without them.")
]
_Team = Annotated[strawberry.ID, strawberry.argument(description="The team.")]
_TeamToValidate = Annotated[
    strawberry.ID | None, strawberry.argument(description="The team as it is now; either this or a blueprint.")
]
_Blueprint = Annotated[
    BlueprintInput | None, strawberry.argument(description="A team that is not made yet; either this or a team.")
]
_Project = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Where a blueprint's team would be made: its tools are looked for there. Nowhere without it."
    ),
]
_Inputs = Annotated[
    JSON | None,
    strawberry.argument(description="The inputs of the execution, an object; those that are missing are named."),
]
_Quality = Annotated[
    QualityPreference | None, strawberry.argument(description="How models are chosen; BALANCED by default.")
]
_Task = Annotated[strawberry.ID, strawberry.argument(description="The task.")]
_Search = Annotated[
    str | None,
    strawberry.argument(
        description="Words that have to stand in a skill's name, description, titles or keywords; at most"
        f" {MOST_SEARCHED} characters."
    ),
]
_Domain = Annotated[
    str | None, strawberry.argument(description="Only skills that are at home there, or everywhere, like “marketing”.")
]
_First = Annotated[int, strawberry.argument(description=f"At most so many, 1 to {MOST_SKILLS}.")]


async def analyze_objective(info: Info, objective: _Objective, constraints: _Constraints = None) -> ObjectiveAnalysis:
    context = info.context
    context.budget.judge(0)
    return await context.services.explain.analyse(context.tenant_id, objective, constraints_from(constraints))


async def validate_team(
    info: Info,
    team_id: _TeamToValidate = None,
    blueprint: _Blueprint = None,
    project_id: _Project = None,
    constraints: _Constraints = None,
) -> Validation | None:
    if (team_id is None) == (blueprint is None):
        raise Invalid.at("Give either a team or a blueprint.", "teamId")
    if team_id is not None and project_id is not None:
        raise Invalid.at("A team brings its own project.", "projectId")
    wanted = constraints_from(constraints)
    wanted.check("constraints")
    context = info.context
    try:
        if blueprint is None:
            found = TeamId(uuid_of("Team", team_id or "", "teamId"))
            weigh = context.budget.judge
            return await context.services.assess.validate_team(context.tenant_id, found, wanted, weigh=weigh)
        project = None if project_id is None else ProjectId(uuid_of("Project", project_id, "projectId"))
    except NotFound:
        return None
    if project is not None and await context.load(ProjectById, project) is None:
        return None
    described = blueprint_from(blueprint, "blueprint")
    context.budget.judge(len(described.roles) + len(described.tasks))
    return await context.services.assess.validate(context.tenant_id, described, project_id=project, constraints=wanted)


async def estimate_execution(
    info: Info, team_id: _Team, inputs: _Inputs = None, quality_preference: _Quality = None
) -> Estimate | None:
    if not isinstance(inputs, dict | None):
        raise Invalid.at("This has to be an object.", "inputs")
    context = info.context
    try:
        found = TeamId(uuid_of("Team", team_id, "teamId"))
    except NotFound:
        return None
    return await context.services.assess.estimate_team(
        context.tenant_id, found, inputs=inputs, quality=quality_preference, weigh=context.budget.judge
    )


async def role_matches(info: Info, task_id: _Task) -> Sequence[RoleMatch] | None:
    context = info.context
    try:
        found = TaskId(uuid_of("Task", task_id, "taskId"))
    except NotFound:
        return None
    return await context.services.explain.role_matches(context.tenant_id, found, weigh=context.budget.judge)


async def skills(
    info: Info,
    search: _Search = None,
    domain: _Domain = None,
    first: _First = DEFAULT_SKILLS,
) -> Sequence[Skill]:
    found = find_skills(search, domain, first)
    info.context.budget.promise(len(found))
    return found
