"""Who does the tasks of a kickoff and why, and the tasks that a kickoff brings itself."""

from datetime import timedelta
from typing import Any

from domain.model.identity import RoleId
from persistence.engine import Database
from persistence.tables import task_execution
from resolvers.node_ids import parse_node_id
from tests.support.graphql import Graph
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written

PLAN = """
    execution { taskExecutions { name kind description expectedOutput roleTitle roleReason task { id }
        waitsFor { name } } }
"""


async def plan(graph: Graph, team_id: str, **values: Any) -> list[dict[str, Any]]:
    payload = await graph.mutate("kickoffTeam", PLAN, teamId=team_id, **values)
    assert payload["errors"] == []
    tasks: list[dict[str, Any]] = payload["execution"]["taskExecutions"]
    return tasks


async def test_brought_tasks_take_the_place_of_the_teams_own(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.role(team_id, title="Clerk")
    await graph.role(team_id, title="{city} writer", skills=["Writing"], position=1)
    await graph.task(team_id, name="Own", description="{never} asked for")
    brought = [
        {
            "description": "Write of {city}.",
            "expectedOutput": "{n} lines",
            "kind": "text",
            "requiredSkills": ["writing"],
            "dependsOn": ["Look"],
        },
        {"name": "Look", "description": "Look at {city}.", "expectedOutput": "Facts", "priority": 9},
    ]

    tasks = await plan(graph, team_id, inputs={"city": "Graz", "n": 3}, tasks=brought)

    assert tasks == [
        {
            "name": "Look",
            "kind": "",
            "description": "Look at Graz.",
            "expectedOutput": "Facts",
            "roleTitle": "Clerk",
            "roleReason": "Matched without skills, for it asks for none; 0 tasks so far; it has finished no task yet.",
            "task": None,
            "waitsFor": [],
        },
        {
            "name": "text",
            "kind": "text",
            "description": "Write of Graz.",
            "expectedOutput": "3 lines",
            "roleTitle": "Graz writer",
            "roleReason": "Matched by skills: writing (1 of 1); 0 tasks so far; it has finished no task yet.",
            "task": None,
            "waitsFor": [{"name": "Look"}],
        },
    ]


async def test_brought_tasks_keep_the_rules_of_tasks(graph: Graph) -> None:
    team_id = await graph.ready_team()
    bad: list[dict[str, Any]] = [
        {"description": "", "expectedOutput": "x", "priority": 10},
        {"description": "x", "expectedOutput": "x", "dependsOn": ["nobody"]},
    ]

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", PLAN, teamId=team_id, tasks=bad)
        many = await graph.mutate("kickoffTeam", PLAN, teamId=team_id, tasks=[{**bad[1], "dependsOn": []}] * 51)
        missing = await graph.mutate(
            "kickoffTeam", PLAN, teamId=team_id, tasks=[{"description": "{a}", "expectedOutput": "{b}"}]
        )

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [
        ("INVALID", ["input", "tasks", "0", "description"]),
        ("INVALID", ["input", "tasks", "0", "priority"]),
        ("INVALID", ["input", "tasks", "1", "dependsOn", "0"]),
    ]
    assert [error["path"] for error in many["errors"]] == [["input", "tasks"]]
    assert missing["errors"][0]["names"] == ["a", "b"]


async def test_brought_tasks_that_wait_for_each_other_are_refused(graph: Graph) -> None:
    team_id = await graph.ready_team()
    ring = [
        {"name": name, "description": "x", "expectedOutput": "x", "dependsOn": [other]}
        for name, other in (("a", "b"), ("b", "a"))
    ]

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", PLAN, teamId=team_id, tasks=ring)

    assert [(error["__typename"], error["path"]) for error in payload["errors"]] == [("Cycle", ["input", "tasks"])]


async def test_no_tasks_brought_are_the_teams_own(graph: Graph) -> None:
    team_id = await graph.ready_team()

    assert [task["task"] is not None for task in await plan(graph, team_id, tasks=[])] == [True]


async def test_the_past_of_the_roles_decides_between_equals(graph: Graph, database: Database) -> None:
    team_id = await graph.team()
    await graph.role(team_id, title="Senior", expertise="EXPERT")
    proven = await graph.role(team_id, title="Proven")
    own = await graph.task(team_id, name="Own", roleId=proven)
    await (await PlayedWorker.on(graph, database, await graph.kickoff(team_id))).finishes()
    await graph.mutate("updateTask", "task { id }", id=own, version=1, roleId=None)

    [task] = await plan(graph, team_id)

    assert task["roleTitle"] == "Proven"
    assert task["roleReason"] == (
        "Matched without skills, for it asks for none; 0 tasks so far; 100 % of its tasks succeeded."
    )


async def test_of_the_past_only_the_last_tasks_that_ended_well_or_badly_count(graph: Graph, database: Database) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    await graph.task(team_id, roleId=role_id)
    await (await PlayedWorker.on(graph, database, await graph.kickoff(team_id))).finishes()
    untried = await graph.role(team_id)
    roles = [RoleId(parse_node_id(identifier)[1]) for identifier in (role_id, untried)]
    await _multiply(graph, 3, "FAILED", 10)
    for status in ("SKIPPED", "CANCELLED", "REUSED"):
        await _multiply(graph, 201, status, 0)
    await _multiply(graph, 205, "COMPLETED", 20)

    async with graph.container.services.kickoff.units(graph.container.context(remembers=True).tenant_id) as unit:
        records = await unit.executions.records(roles)

    assert [(records[key].completed, records[key].failed) for key in roles if key in records] == [(197, 3)]


async def _multiply(graph: Graph, times: int, status: str, ago: int) -> None:
    """So many more tasks of the first that there is, which ended like this."""
    values = {column.name: f"task.{column.name}" for column in task_execution.c}
    values |= {
        "id": "gen_random_uuid()",
        "status": "$2::text",
        "finished_at": "now() - $3::interval",
        "position": "number + (SELECT max(position) FROM task_execution)",
    }
    await graph.container.database.pool.execute(
        f"INSERT INTO task_execution ({', '.join(values)}) SELECT {', '.join(values.values())}"  # noqa: S608 - ours
        " FROM (SELECT * FROM task_execution ORDER BY position LIMIT 1) AS task, generate_series(1, $1::int) AS number",
        times,
        status,
        timedelta(days=ago),
    )


async def test_a_role_is_not_given_more_than_its_most_tasks(graph: Graph) -> None:
    team_id = await graph.team()
    small = await graph.role(team_id, title="Small", skills=["x"], maxTasks=1)
    await graph.role(team_id, title="Big")
    for name in ("1", "2"):
        await graph.task(team_id, name=name, requiredSkills=["x"])
    assert [task["roleTitle"] for task in await plan(graph, team_id)] == ["Small", "Big"]
    for name in ("3", "4"):
        await graph.task(team_id, name=name, roleId=small)

    async with nothing_written(graph):
        payload = await graph.mutate("kickoffTeam", PLAN, teamId=team_id)

    assert payload["errors"] == [
        {
            "__typename": "Refused",
            "message": "Nobody is left for the task “4”: in one execution “Small” is given at most 1.",
            "code": "TOO_MANY_TASKS",
            "path": ["input", "teamId"],
            "suggestion": "Raise the maxTasks of a role, or give tasks to other roles.",
        }
    ]


async def test_a_manager_does_what_nobody_is_named_for(graph: Graph) -> None:
    team_id = await graph.team(process="HIERARCHICAL")
    manager = await graph.role(team_id, title="Boss", expertise="JUNIOR")
    await graph.role(team_id, title="Expert", expertise="EXPERT", skills=["x"])
    await graph.task(team_id, requiredSkills=["x"])
    before = await plan(graph, team_id)
    await graph.mutate("updateTeam", "team { id }", id=team_id, version=1, managerId=manager)

    after = await plan(graph, team_id)

    assert (before[0]["roleTitle"], after[0]["roleTitle"]) == ("Expert", "Boss")
    assert after[0]["roleReason"] == "The manager: no active role is named for it."


async def test_a_collaborative_run_ends_with_a_synthesis_of_all(graph: Graph) -> None:
    team_id = await graph.team(process="COLLABORATIVE")
    await graph.role(team_id, title="Poet")
    await graph.role(team_id, title="Editor", expertise="SENIOR", position=1)

    tasks = await plan(graph, team_id)

    assert [(task["name"], task["roleTitle"], task["kind"]) for task in tasks[2:]] == [
        ("Synthesis", "Editor", "synthesis")
    ]
    assert [other["name"] for other in tasks[2]["waitsFor"]] == [task["name"] for task in tasks[:2]]
