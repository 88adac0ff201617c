"""The root of all mutations: verb first, one per action, one `input`, one payload type."""

from typing import Any

import strawberry

from resolvers import credentials, crews, editing, executions, models
from schema.payloads import mutation
from schema.types.credential import Credential
from schema.types.crew import Unrepresented
from schema.types.execution import Execution
from schema.types.model import Model
from schema.types.project import Project, Tenant
from schema.types.role import Role
from schema.types.task import Task
from schema.types.team import Team
from schema.types.tool import Tool


@strawberry.type(description="What can be done.")
class Mutation:
    update_tenant: Any = mutation("UpdateTenant", editing.update_tenant, "Changes the tenant.", tenant=Tenant)
    create_project: Any = mutation("CreateProject", editing.create_project, "Makes a project.", project=Project)
    update_project: Any = mutation("UpdateProject", editing.update_project, "Changes a project.", project=Project)
    duplicate_project: Any = mutation(
        "DuplicateProject",
        editing.duplicate("Project", lambda copies: copies.project),
        "Makes a copy of a project.",
        project=Project,
    )
    archive_project: Any = mutation(
        "ArchiveProject",
        editing.archive("Project", lambda services: services.projects),
        "Takes a project out of use; its history stays.",
        project=Project,
    )
    restore_project: Any = mutation(
        "RestoreProject",
        editing.restore("Project", lambda services: services.projects),
        "Takes an archived project back into use.",
        project=Project,
    )
    create_team: Any = mutation("CreateTeam", editing.create_team, "Makes a team.", team=Team)
    update_team: Any = mutation("UpdateTeam", editing.update_team, "Changes a team.", team=Team)
    duplicate_team: Any = mutation(
        "DuplicateTeam",
        editing.duplicate("Team", lambda copies: copies.team),
        "Makes a copy of a team, with its roles, tasks and links to tools.",
        team=Team,
    )
    archive_team: Any = mutation(
        "ArchiveTeam",
        editing.archive("Team", lambda services: services.teams),
        "Takes a team out of use; its history stays.",
        team=Team,
    )
    restore_team: Any = mutation(
        "RestoreTeam",
        editing.restore("Team", lambda services: services.teams),
        "Takes an archived team back into use.",
        team=Team,
    )
    create_role: Any = mutation("CreateRole", editing.create_role, "Makes a role.", role=Role)
    update_role: Any = mutation("UpdateRole", editing.update_role, "Changes a role.", role=Role)
    duplicate_role: Any = mutation(
        "DuplicateRole",
        editing.duplicate("Role", lambda copies: copies.role),
        "Makes a copy of a role.",
        role=Role,
    )
    archive_role: Any = mutation(
        "ArchiveRole",
        editing.archive("Role", lambda services: services.roles),
        "Takes a role out of use; its history stays.",
        role=Role,
    )
    restore_role: Any = mutation(
        "RestoreRole",
        editing.restore("Role", lambda services: services.roles),
        "Takes an archived role back into use.",
        role=Role,
    )
    create_task: Any = mutation("CreateTask", editing.create_task, "Makes a task.", task=Task)
    update_task: Any = mutation("UpdateTask", editing.update_task, "Changes a task.", task=Task)
    duplicate_task: Any = mutation(
        "DuplicateTask",
        editing.duplicate("Task", lambda copies: copies.task),
        "Makes a copy of a task.",
        task=Task,
    )
    archive_task: Any = mutation(
        "ArchiveTask",
        editing.archive("Task", lambda services: services.tasks),
        "Takes a task out of use; its history stays.",
        task=Task,
    )
    restore_task: Any = mutation(
        "RestoreTask",
        editing.restore("Task", lambda services: services.tasks),
        "Takes an archived task back into use.",
        task=Task,
    )
    create_tool: Any = mutation("CreateTool", editing.create_tool, "Makes a tool.", tool=Tool)
    update_tool: Any = mutation("UpdateTool", editing.update_tool, "Changes a tool.", tool=Tool)
    duplicate_tool: Any = mutation(
        "DuplicateTool",
        editing.duplicate("Tool", lambda copies: copies.tool),
        "Makes a copy of a tool.",
        tool=Tool,
    )
    archive_tool: Any = mutation(
        "ArchiveTool",
        editing.archive("Tool", lambda services: services.tools),
        "Takes a tool out of use; its history stays.",
        tool=Tool,
    )
    restore_tool: Any = mutation(
        "RestoreTool",
        editing.restore("Tool", lambda services: services.tools),
        "Takes an archived tool back into use.",
        tool=Tool,
    )
    create_model: Any = mutation(
        "CreateModel",
        models.create_model,
        "Makes an entry of your own in the model catalogue, new or in place of one that ships. It makes no call cheaper"
        " that the operator's key pays: those are booked at no less than the prices that ship.",
        model=Model,
    )
    update_model: Any = mutation(
        "UpdateModel", models.update_model, "Changes an entry of your own in the model catalogue.", model=Model
    )
    archive_model: Any = mutation(
        "ArchiveModel",
        models.archive_model,
        "Takes an entry of your own out of the catalogue, and forgets its key; one that ships is back in its place.",
        model=Model,
    )
    restore_model: Any = mutation(
        "RestoreModel", models.restore_model, "Takes an archived entry back into the catalogue.", model=Model
    )
    set_provider_key: Any = mutation(
        "SetProviderKey",
        credentials.set_provider_key,
        "Sets your key for a provider of models; replaces the one that was set before.",
        credential=Credential,
    )
    set_model_key: Any = mutation(
        "SetModelKey",
        credentials.set_model_key,
        "Sets the key for one of your own models; replaces the one that was set before.",
        credential=Credential,
    )
    set_tool_credential: Any = mutation(
        "SetToolCredential",
        credentials.set_tool_credential,
        "Sets what an MCP server is sent; replaces what was set before.",
        credential=Credential,
    )
    remove_credential: Any = mutation(
        "RemoveCredential", credentials.remove_credential, "Forgets a secret.", credential=Credential
    )
    import_crew: Any = mutation(
        "ImportCrew",
        crews.import_crew,
        "Makes a team of a CrewAI project's agents.yaml and tasks.yaml.",
        unpack=lambda made: {"team": made.team, "unrepresented": made.unrepresented},
        team=Team,
        unrepresented=list[Unrepresented],
    )
    kickoff_team: Any = mutation(
        "KickoffTeam",
        executions.kickoff_team,
        "Starts an execution of a team; follow it with the subscriptions.",
        execution=Execution,
    )
    cancel_execution: Any = mutation(
        "CancelExecution",
        executions.cancel_execution,
        "Stops an execution: model calls in flight are closed.",
        execution=Execution,
    )
