"""Ids that point to nothing, to another kind, or to another tenant's things: they all look the same."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.support.graphql import Graph
from tests.support.things import MALFORMED, nothing_written, one_of_each, strangers_things, unknown

Ids = Mapping[str, str]

TASK = {"name": "Other", "description": "Do.", "expectedOutput": "Done."}
WORDS = {"TaskExecution": "task execution", "TeamRevision": "team revision", "ScheduleFire": "schedule fire"}
WORDS |= {"WebhookDelivery": "webhook delivery"}
YAML = {"agentsYaml": "a: {role: r, goal: g, backstory: b}", "tasksYaml": ""}


def _positions(own: Ids) -> dict[str, tuple[str, list[str], Callable[[str], dict[str, Any]]]]:
    """Every place of a mutation's input that takes an id: its kind, its path, and the input with an id there."""
    team, role, task = own["Team"], own["Role"], own["Task"]
    found: dict[str, tuple[str, list[str], Callable[[str], dict[str, Any]]]] = {}
    for kind in ("Project", "Team", "Role", "Task", "Tool"):
        found[f"update{kind}"] = (kind, ["id"], lambda it: {"id": it, "version": 1, "description": "x"})
        for action in ("duplicate", "archive", "restore"):
            found[f"{action}{kind}"] = (kind, ["id"], lambda it: {"id": it})
    for kind in ("Model", "Schedule", "Webhook"):
        for action in ("archive", "restore"):
            found[f"{action}{kind}"] = (kind, ["id"], lambda it: {"id": it})
    for action in ("pauseSchedule", "resumeSchedule", "triggerSchedule", "rotateWebhookSecret", "testWebhook"):
        found[action] = ("Webhook" if "Webhook" in action else "Schedule", ["id"], lambda it: {"id": it})
    return found | {
        "updateModel": ("Model", ["id"], lambda it: {"id": it, "version": 1, "isEnabled": False}),
        "createTeam": ("Project", ["projectId"], lambda it: {"projectId": it, "name": "Other"}),
        "createTool": ("Project", ["projectId"], lambda it: {"projectId": it, "name": "Other", "kind": "CALCULATOR"}),
        "createRole": ("Team", ["teamId"], lambda it: {"teamId": it, "title": "Other"}),
        "createTask": ("Team", ["teamId"], lambda it: {"teamId": it, **TASK}),
        "importCrew": ("Project", ["projectId"], lambda it: {"projectId": it, "name": "Other", **YAML}),
        "kickoffTeam": ("Team", ["teamId"], lambda it: {"teamId": it}),
        "cancelExecution": ("Execution", ["executionId"], lambda it: {"executionId": it}),
        "pauseExecution": ("Execution", ["executionId"], lambda it: {"executionId": it}),
        "resumeExecution": ("Execution", ["executionId"], lambda it: {"executionId": it}),
        "retryExecution": ("Execution", ["executionId"], lambda it: {"executionId": it}),
        "forkExecution": (
            "Execution",
            ["executionId"],
            lambda it: {"executionId": it, "fromTask": own["TaskExecution"]},
        ),
        "forkExecution task": (
            "TaskExecution",
            ["fromTask"],
            lambda it: {"executionId": own["Execution"], "fromTask": it},
        ),
        "updateTaskExecution": (
            "TaskExecution",
            ["taskExecutionId"],
            lambda it: {"taskExecutionId": it, "description": "x"},
        ),
        "approveTask": ("Approval", ["approvalId"], lambda it: {"approvalId": it}),
        "rejectTask": ("Approval", ["approvalId"], lambda it: {"approvalId": it}),
        "answerQuestion": ("Approval", ["approvalId"], lambda it: {"approvalId": it, "answer": "x"}),
        "generateTeam": ("Team", ["teamId"], lambda it: {"teamId": it, "objective": "x"}),
        "bulkGenerateTeams": ("Project", ["projectId"], lambda it: {"projectId": it, "objectives": ["x"]}),
        "buildAdaptiveTeam": ("Project", ["projectId"], lambda it: {"projectId": it, "objective": "x"}),
        "cancelGeneration": ("Generation", ["generationId"], lambda it: {"generationId": it}),
        "acceptGeneration": ("Generation", ["generationId"], lambda it: {"generationId": it}),
        "rejectGeneration": ("Generation", ["generationId"], lambda it: {"generationId": it}),
        "rateGeneration": ("Generation", ["generationId"], lambda it: {"generationId": it, "rating": 3}),
        "archiveTemplate": ("Template", ["id"], lambda it: {"id": it}),
        "restoreTemplate": ("Template", ["id"], lambda it: {"id": it}),
        "updateTemplate": ("Template", ["id"], lambda it: {"id": it, "version": 1, "description": "x"}),
        "duplicateTemplate": ("Template", ["id"], lambda it: {"id": it}),
        "saveTeamAsTemplate": ("Team", ["teamId"], lambda it: {"teamId": it, "name": "Other"}),
        "instantiateTemplate": ("Template", ["templateId"], lambda it: {"templateId": it, "projectId": own["Project"]}),
        "instantiateTaskTemplate": ("Template", ["templateId"], lambda it: {"templateId": it, "teamId": team}),
        "instantiateTaskTemplate team": (
            "Team",
            ["teamId"],
            lambda it: {"templateId": own["Template"], "teamId": it},
        ),
        "instantiateTaskTemplate role": (
            "Role",
            ["roleId"],
            lambda it: {"templateId": own["Template"], "teamId": team, "name": "New", "roleId": it},
        ),
        "instantiateTaskTemplate waiting": (
            "Task",
            ["dependsOn", "0"],
            lambda it: {"templateId": own["Template"], "teamId": team, "name": "New", "dependsOn": [it]},
        ),
        "createSchedule": ("Team", ["teamId"], lambda it: {"teamId": it, "name": "Other", "cron": "0 3 * * *"}),
        "updateSchedule": ("Schedule", ["id"], lambda it: {"id": it, "version": 1, "name": "Other"}),
        "updateWebhook": ("Webhook", ["id"], lambda it: {"id": it, "version": 1, "name": "Other"}),
        "redeliverWebhook": ("WebhookDelivery", ["deliveryId"], lambda it: {"deliveryId": it}),
        "removeCredential": ("Credential", ["id"], lambda it: {"id": it}),
        "optimizeTeam": ("Team", ["teamId"], lambda it: {"teamId": it, "goal": "COST"}),
        "applyOptimization": ("Optimization", ["id"], lambda it: {"id": it}),
        "undoOptimization": ("Optimization", ["id"], lambda it: {"id": it}),
        "updateTeam manager": ("Role", ["managerId"], lambda it: {"id": team, "version": 1, "managerId": it}),
        "createRole supervisor": (
            "Role",
            ["supervisorId"],
            lambda it: {"teamId": team, "title": "Other", "supervisorId": it},
        ),
        "updateRole supervisor": ("Role", ["supervisorId"], lambda it: {"id": role, "version": 1, "supervisorId": it}),
        "createRole tools": (
            "Tool",
            ["toolIds", "1"],
            lambda it: {"teamId": team, "title": "Other", "toolIds": [own["Tool"], it]},
        ),
        "updateRole tools": ("Tool", ["toolIds", "0"], lambda it: {"id": role, "version": 1, "toolIds": [it]}),
        "createTask role": ("Role", ["roleId"], lambda it: {"teamId": team, **TASK, "roleId": it}),
        "updateTask role": ("Role", ["roleId"], lambda it: {"id": task, "version": 1, "roleId": it}),
        "createTask waiting": (
            "Task",
            ["dependsOn", "1"],
            lambda it: {"teamId": team, **TASK, "dependsOn": [task, it]},
        ),
        "updateTask waiting": ("Task", ["dependsOn", "0"], lambda it: {"id": task, "version": 1, "dependsOn": [it]}),
    }


async def _answers(graph: Graph, own: Ids, bad: Callable[[str], str]) -> dict[str, Any]:
    """What each position says of a bad id; nothing may be written."""
    answers = {}
    async with nothing_written(graph):
        for position, (kind, _, values) in _positions(own).items():
            payload = await graph.mutate(position.split()[0], "__typename", **values(bad(kind)))
            answers[position] = payload["errors"]
    return answers


def _not_found(own: Ids) -> dict[str, Any]:
    """Exactly one error in each position, with its place."""
    return {
        position: [
            {
                "__typename": "NotFound",
                "message": f"There is no {WORDS.get(kind, kind.lower())} with this id.",
                "code": "NOT_FOUND",
                "path": ["input", *path],
                "suggestion": None,
            }
        ]
        for position, (kind, path, _) in _positions(own).items()
    }


async def test_unknown_ids_are_not_found_anywhere(graph: Graph) -> None:
    own = await one_of_each(graph)

    assert await _answers(graph, own, unknown) == _not_found(own)


async def test_malformed_ids_are_not_found_anywhere(graph: Graph) -> None:
    own = await one_of_each(graph)

    for malformed in MALFORMED:
        assert await _answers(graph, own, lambda _: malformed) == _not_found(own)  # noqa: B023 - called at once


async def test_ids_of_another_kind_are_not_found_anywhere(graph: Graph) -> None:
    own = await one_of_each(graph)
    other = {"Project": "Team", "Team": "Project", "Role": "Task", "Task": "Role", "Tool": "Role", "Execution": "Team"}
    other |= {"Model": "Tool", "TaskExecution": "Execution", "Approval": "TaskExecution"}
    other |= {"Generation": "Execution", "Template": "Team", "Optimization": "Generation", "Schedule": "ScheduleFire"}
    other |= {"Webhook": "WebhookDelivery", "WebhookDelivery": "Webhook", "Credential": "LedgerEntry"}

    assert await _answers(graph, own, lambda kind: own[other[kind]]) == _not_found(own)


async def test_ids_of_another_tenant_are_not_found_anywhere(graph: Graph) -> None:
    strangers = await strangers_things(graph)
    own = await one_of_each(graph)

    assert await _answers(graph, own, strangers.__getitem__) == _not_found(own)


async def test_parts_of_another_team_cannot_be_referred_to(graph: Graph) -> None:
    """They exist and may be seen, but a team is made of its own parts, and a role uses tools of its own project."""
    own, other = await one_of_each(graph), await one_of_each(graph)
    positions = _positions(own)

    told = {}
    async with nothing_written(graph):
        # A place of a part: behind a blank. A template may be used in any team.
        for position in [position for position in positions if " " in position and positions[position][0] != "Team"]:
            kind, path, values = positions[position]
            payload = await graph.mutate(position.split()[0], "__typename", **values(other[kind]))
            told[position] = [(error["code"], error["path"] == ["input", *path]) for error in payload["errors"]]

    lists = {position for position in told if position.endswith((" tools", " waiting", "Execution task"))}
    expected = {position: "NOT_FOUND" if position in lists else "INVALID" for position in told}
    assert told == {position: [(code, True)] for position, code in expected.items()}


async def test_archived_tools_and_tasks_cannot_be_linked(graph: Graph) -> None:
    own = await one_of_each(graph)
    await graph.mutate("archiveTool", "tool { id }", id=own["Tool"])
    await graph.mutate("archiveTask", "task { id }", id=own["Task"])

    async with nothing_written(graph):
        role = await graph.mutate("createRole", "role { id }", teamId=own["Team"], title="Other", toolIds=[own["Tool"]])
        task = await graph.mutate("createTask", "task { id }", teamId=own["Team"], **TASK, dependsOn=[own["Task"]])

    told = [(error["code"], error["path"]) for payload in (role, task) for error in payload["errors"]]
    assert told == [("NOT_FOUND", ["input", "toolIds", "0"]), ("NOT_FOUND", ["input", "dependsOn", "0"])]
