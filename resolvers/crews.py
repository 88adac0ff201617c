"""CrewAI's own files: a team moves in by a mutation, and out by a query."""

from typing import Annotated, Any
from uuid import UUID

import strawberry

from domain.errors import NotFound
from resolvers.context import Info
from resolvers.node_ids import uuid_of
from resolvers.team_inputs import ImportCrewInput

TeamArgument = Annotated[strawberry.ID, strawberry.argument(description="The team.")]


async def import_crew(info: Info, input: ImportCrewInput) -> Any:  # noqa: A002 - the graph's name
    project_id: UUID = uuid_of("Project", input.project_id, "projectId")
    context = info.context
    return await context.services.import_crew(
        context.tenant_id, project_id, input.name, input.agents_yaml, input.tasks_yaml, context.principal_id
    )


async def exported_crew(info: Info, team_id: TeamArgument) -> Any:
    context = info.context
    try:
        found = uuid_of("Team", team_id, "teamId")
        return await context.services.export_crew(context.tenant_id, found, weigh=context.budget.judge)
    except NotFound:
        return None
