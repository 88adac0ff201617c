"""The root of all mutations: verb first, one per action, one `input`, one payload type."""

from typing import Any

import strawberry

from resolvers import (
    alerts,
    approvals,
    credentials,
    crews,
    editing,
    executions,
    generations,
    models,
    optimizations,
    schedules,
    templates,
    webhooks,
)
from schema.payloads import mutation
from schema.types.alert import AlertRule
from schema.types.approval import Approval
from schema.types.credential import Credential
from schema.types.crew import Unrepresented
from schema.types.execution import Execution, TaskExecution
from schema.types.generation import BulkGenerationResult, Generation
from schema.types.model import Model
from schema.types.optimization import Optimization
from schema.types.project import Project, Tenant
from schema.types.role import Role
from schema.types.schedule import Schedule, ScheduleFire
from schema.types.task import Task
from schema.types.team import Team
from schema.types.template import Template, TemplateParameter
from schema.types.tool import Tool
from schema.types.webhook import Webhook, WebhookDelivery


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
    create_schedule: Any = mutation(
        "CreateSchedule", schedules.create_schedule, "Kicks a team off by the clock from now on.", schedule=Schedule
    )
    update_schedule: Any = mutation(
        "UpdateSchedule", schedules.update_schedule, "Changes a schedule.", schedule=Schedule
    )
    archive_schedule: Any = mutation(
        "ArchiveSchedule",
        editing.archive("Schedule", lambda services: services.schedules),
        "Takes a schedule out of use; its history stays.",
        schedule=Schedule,
    )
    restore_schedule: Any = mutation(
        "RestoreSchedule",
        editing.restore("Schedule", lambda services: services.schedules),
        "Takes an archived schedule back into use: it fires from now on.",
        schedule=Schedule,
    )
    create_alert_rule: Any = mutation(
        "CreateAlertRule",
        alerts.create_alert_rule,
        "Says what must not happen: it is judged from now on.",
        alert_rule=AlertRule,
    )
    update_alert_rule: Any = mutation(
        "UpdateAlertRule", alerts.update_alert_rule, "Changes an alert rule.", alert_rule=AlertRule
    )
    archive_alert_rule: Any = mutation(
        "ArchiveAlertRule",
        editing.archive("AlertRule", lambda services: services.alert_rules),
        "Takes an alert rule out of use: its open alert is resolved, its history stays.",
        alert_rule=AlertRule,
    )
    restore_alert_rule: Any = mutation(
        "RestoreAlertRule",
        editing.restore("AlertRule", lambda services: services.alert_rules),
        "Takes an archived alert rule back into use: it is judged from now on.",
        alert_rule=AlertRule,
    )
    pause_schedule: Any = mutation(
        "PauseSchedule",
        schedules.pause_schedule,
        "Lets a schedule fire no more until it is resumed.",
        schedule=Schedule,
    )
    resume_schedule: Any = mutation(
        "ResumeSchedule",
        schedules.resume_schedule,
        "Lets a schedule fire again from now on; what the pause left out can be made up with backfillSchedule.",
        schedule=Schedule,
    )
    trigger_schedule: Any = mutation(
        "TriggerSchedule",
        schedules.trigger_schedule,
        "Lets a schedule fire now, beside its times; refused where an earlier execution is in its way.",
        fire=ScheduleFire,
    )
    backfill_schedule: Any = mutation(
        "BackfillSchedule",
        schedules.backfill_schedule,
        "Makes up the fires of a time that is over which started no execution, the oldest first: one after the other,"
        " with overlap PARALLEL ten at once. The same range again makes nothing twice.",
        unpack=schedules.unpacked,
        schedule=Schedule,
        count=int,
    )
    cancel_backfill: Any = mutation(
        "CancelBackfill",
        schedules.cancel_backfill,
        "Forgets the fires that wait to be made up; executions that were started go on.",
        unpack=schedules.unpacked,
        schedule=Schedule,
        count=int,
    )
    create_webhook: Any = mutation(
        "CreateWebhook",
        webhooks.create_webhook,
        "Makes a webhook. Its secret is in this answer and in no other: deliveries are signed with it.",
        unpack=lambda made: {"webhook": made.webhook, "secret": made.secret},
        webhook=Webhook,
        secret=str,
    )
    update_webhook: Any = mutation("UpdateWebhook", webhooks.update_webhook, "Changes a webhook.", webhook=Webhook)
    archive_webhook: Any = mutation(
        "ArchiveWebhook",
        webhooks.archive_webhook,
        "Takes a webhook out of use: nothing is sent to it any more.",
        webhook=Webhook,
    )
    restore_webhook: Any = mutation(
        "RestoreWebhook", webhooks.restore_webhook, "Takes an archived webhook back into use.", webhook=Webhook
    )
    rotate_webhook_secret: Any = mutation(
        "RotateWebhookSecret",
        webhooks.rotate_webhook_secret,
        "Gives a webhook a new secret, in this answer and in no other; for a while, deliveries are signed with both.",
        unpack=lambda made: {"webhook": made.webhook, "secret": made.secret},
        webhook=Webhook,
        secret=str,
    )
    test_webhook: Any = mutation(
        "TestWebhook",
        webhooks.test_webhook,
        "Sends a webhook a “Ping”; while one is on its way, that is the answer.",
        delivery=WebhookDelivery,
    )
    redeliver_webhook: Any = mutation(
        "RedeliverWebhook",
        webhooks.redeliver_webhook,
        "Sends an event to its webhook once more; while a delivery of it is on its way, that is the answer.",
        delivery=WebhookDelivery,
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
        "Stops an execution: model calls in flight are closed. One that is stopping or stopped is given as it is.",
        execution=Execution,
    )
    cancel_executions: Any = mutation(
        "CancelExecutions",
        executions.cancel_executions,
        "Stops all executions that meet a filter, at most 1,000 at once; what is over is left alone.",
        unpack=lambda done: {"executions": done.executions, "count": done.count, "has_more": done.has_more},
        executions=list[Execution],
        count=int,
        has_more=bool,
    )
    pause_execution: Any = mutation(
        "PauseExecution",
        executions.pause_execution,
        "Holds a running execution up at its next boundary: before its next model call or task. It has no worker then.",
        execution=Execution,
    )
    resume_execution: Any = mutation(
        "ResumeExecution",
        executions.resume_execution,
        "Lets a paused execution go on; calls that were finished are not made again.",
        execution=Execution,
    )
    retry_execution: Any = mutation(
        "RetryExecution",
        executions.retry_execution,
        "Starts a new execution that takes over what a FAILED or CANCELLED one had done, and does the rest.",
        execution=Execution,
    )
    fork_execution: Any = mutation(
        "ForkExecution",
        executions.fork_execution,
        "Starts a new execution that goes another way from a task on; what does not depend on it is taken over.",
        execution=Execution,
    )
    update_task_execution: Any = mutation(
        "UpdateTaskExecution",
        executions.update_task_execution,
        "Changes a task that was not begun, in a paused execution and for it alone.",
        task_execution=TaskExecution,
    )
    approve_task: Any = mutation(
        "ApproveTask", approvals.approve_task, "Agrees with the output of a task: it is completed.", approval=Approval
    )
    reject_task: Any = mutation(
        "RejectTask",
        approvals.reject_task,
        "Does not agree with the output of a task: with feedback it is tried once more, without it fails.",
        approval=Approval,
    )
    answer_question: Any = mutation(
        "AnswerQuestion", approvals.answer_question, "Answers a role, which then goes on.", approval=Approval
    )
    generate_team: Any = mutation(
        "GenerateTeam",
        generations.generate_team,
        "Asks for a proposal of a team; follow it with `generationProgress`. Nothing is made before it is accepted.",
        generation=Generation,
    )
    build_adaptive_team: Any = mutation(
        "BuildAdaptiveTeam",
        generations.build_adaptive_team,
        "Asks for a proposal of a team of at most five roles, as experienced as it needs.",
        generation=Generation,
    )
    bulk_generate_teams: Any = mutation(
        "BulkGenerateTeams",
        generations.bulk_generate_teams,
        "Asks for a proposal for each of up to 50 objectives, ten at once; one that is refused, or fails, fails alone.",
        unpack=generations.batch_of,
        results=list[BulkGenerationResult],
        batch_id=strawberry.ID,
    )
    cancel_generation: Any = mutation(
        "CancelGeneration",
        generations.cancel_generation,
        "Stops a generation: a model call in flight is closed. One that is over is given as it is.",
        generation=Generation,
    )
    accept_generation: Any = mutation(
        "AcceptGeneration",
        generations.accept_generation,
        "Makes the team that was proposed, or changes the one that it is for, with edits; all of it or nothing.",
        unpack=lambda done: {"generation": done.generation, "team": done.team},
        generation=Generation,
        team=Team,
    )
    reject_generation: Any = mutation(
        "RejectGeneration", generations.reject_generation, "Turns a proposal down.", generation=Generation
    )
    optimize_team: Any = mutation(
        "OptimizeTeam",
        optimizations.optimize_team,
        "Proposes changes to a team that its own history speaks for, in place of what was proposed for the same goal."
        " Nothing is spent, and nothing is changed before it is applied; `message` says why nothing is proposed.",
        unpack=optimizations.proposed,
        team=Team,
        optimizations=list[Optimization],
        message=str,
    )
    apply_optimization: Any = mutation(
        "ApplyOptimization",
        optimizations.apply_optimization,
        "Changes the team as it was proposed: all of it, or nothing where the team is not the same any more.",
        unpack=optimizations.changed,
        optimization=Optimization,
        team=Team,
    )
    undo_optimization: Any = mutation(
        "UndoOptimization",
        optimizations.undo_optimization,
        "Changes the team back: all of it, or nothing where somebody changed the same since.",
        unpack=optimizations.changed,
        optimization=Optimization,
        team=Team,
    )
    rate_generation: Any = mutation(
        "RateGeneration", generations.rate_generation, "Says how good a generation was.", generation=Generation
    )
    create_template: Any = mutation(
        "CreateTemplate",
        templates.create_template,
        "Makes a template of your own, with its first version.",
        template=Template,
    )
    update_template: Any = mutation(
        "UpdateTemplate",
        templates.update_template,
        "Changes a template of your own; what it holds becomes a new version.",
        template=Template,
    )
    archive_template: Any = mutation(
        "ArchiveTemplate",
        templates.archive_template,
        "Takes a template of your own out of use; what was made of it stays.",
        template=Template,
    )
    restore_template: Any = mutation(
        "RestoreTemplate", templates.restore_template, "Takes an archived template back into use.", template=Template
    )
    duplicate_template: Any = mutation(
        "DuplicateTemplate",
        templates.duplicate_template,
        "Makes a template of your own of the newest version of any; of a built-in one under the same name.",
        template=Template,
    )
    import_template: Any = mutation(
        "ImportTemplate",
        templates.import_template,
        "Makes a template of YAML; where you have one of the name, a new version of that.",
        template=Template,
    )
    save_team_as_template: Any = mutation(
        "SaveTeamAsTemplate",
        templates.save_team_as_template,
        "Makes a template of a team as it is, with parameters in place of values in its texts.",
        unpack=templates.unpacked,
        template=Template,
        parameters=list[TemplateParameter],
    )
    instantiate_template: Any = mutation(
        "InstantiateTemplate",
        templates.instantiate_template,
        "Makes a team of a template: all of it, or nothing.",
        team=Team,
    )
    instantiate_task_template: Any = mutation(
        "InstantiateTaskTemplate",
        templates.instantiate_task_template,
        "Makes a task of a template, behind those that the team has.",
        task=Task,
    )
