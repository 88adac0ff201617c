"""CrewAI's own files through the graph: a crew moves in and out again."""

from typing import Any

from tests.support.graphql import Graph
from tests.support.things import nothing_written, strangers_things, unknown

AGENTS = """
scout:
  role: Food scout for {city}
  goal: Find places in {city}
  backstory: You walked every street.
  llm: openai/gpt-4o-mini
  tools: [Sums, notebook]
  verbose: true
writer:
  role: Guide writer
  goal: Write for people who have one evening
  backstory: You count words.
"""
TASKS = """
scout_task:
  description: List ten places in {city}.
  expected_output: Ten lines
  agent: scout
guide_task:
  description: Write the guide.
  expected_output: A guide
  agent: writer
  context: [scout_task]
"""
TEAM = """team { id name version roles { title goals backstory model tools { name } }
    tasks { name description expectedOutput placeholders role { title } dependsOn { name } } }
    unrepresented { file path value reason }"""
EXPORTED = "query($id: ID!) { exportedCrew(teamId: $id) { agentsYaml tasksYaml unrepresented { file path value } } }"


async def _import(graph: Graph, project_id: str, agents: str = AGENTS, tasks: str = TASKS) -> dict[str, Any]:
    return await graph.mutate(
        "importCrew", TEAM, projectId=project_id, name="Guides", agentsYaml=agents, tasksYaml=tasks
    )


async def test_a_crew_moves_in_and_what_has_no_place_is_listed(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")

    payload = await _import(graph, project_id)

    assert payload["errors"] == []
    roles, tasks = payload["team"]["roles"], payload["team"]["tasks"]
    assert (payload["team"]["name"], payload["team"]["version"]) == ("Guides", 1)
    assert roles == [
        {
            "title": "Food scout for {city}",
            "goals": ["Find places in {city}"],
            "backstory": "You walked every street.",
            "model": "openai/gpt-4o-mini",
            "tools": [{"name": "Sums"}],
        },
        {
            "title": "Guide writer",
            "goals": ["Write for people who have one evening"],
            "backstory": "You count words.",
            "model": None,
            "tools": [],
        },
    ]
    assert [(task["name"], task["role"]["title"], task["dependsOn"]) for task in tasks] == [
        ("scout_task", "Food scout for {city}", []),
        ("guide_task", "Guide writer", [{"name": "scout_task"}]),
    ]
    assert {item["file"] for item in payload["unrepresented"]} == {"agentsYaml"}
    assert [(item["path"], item["value"]) for item in payload["unrepresented"]] == [
        (["scout", "tools", "1"], "notebook"),
        (["scout", "verbose"], "true"),
        (["scout"], "scout"),
        (["writer"], "writer"),
    ]


async def test_a_tool_is_found_among_more_than_a_page_of_them(graph: Graph) -> None:
    project_id = await graph.project()
    for number in range(100):
        await graph.make("Tool", projectId=project_id, name=f"Page {number}", kind="HTTP_GET")
    await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")

    payload = await _import(graph, project_id)

    assert payload["team"]["roles"][0]["tools"] == [{"name": "Sums"}]


async def test_what_moved_out_moves_in_as_the_same_team(graph: Graph) -> None:
    project_id, other_id = await graph.project(), await graph.project()
    for project in (project_id, other_id):
        await graph.make("Tool", projectId=project, name="Sums", kind="CALCULATOR")
    made = await _import(graph, project_id)

    files = (await graph.query(EXPORTED, id=made["team"]["id"]))["exportedCrew"]
    again = await _import(graph, other_id, files["agentsYaml"], files["tasksYaml"])

    assert [(item["path"], item["value"]) for item in files["unrepresented"]] == [
        (["food_scout_for_city", "tools", "0"], "sums")  # CrewAI needs a tool's code, a file has only its name
    ]
    assert again["errors"] == again["unrepresented"] == []
    assert again["team"] == {**made["team"], "id": again["team"]["id"]}


async def test_files_that_are_wrong_are_refused_with_every_problem_and_nothing_is_made(graph: Graph) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        payload = await _import(graph, project_id, "scout: {role: r", "task: [")

    assert {error["code"] for error in payload["errors"]} == {"INVALID"}
    assert [error["path"] for error in payload["errors"]] == [["input", "agentsYaml"], ["input", "tasksYaml"]]
    assert (payload["team"], payload["unrepresented"]) == (None, None)


async def test_tasks_that_wait_for_each_other_do_not_move_in(graph: Graph) -> None:
    project_id = await graph.project()
    tasks = TASKS.replace("agent: scout", "agent: scout\n  context: [guide_task]")

    async with nothing_written(graph):
        payload = await _import(graph, project_id, tasks=tasks)

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [
        ("INVALID", ["input", "tasksYaml", "scout_task", "context"])
    ]
    assert payload["errors"][0]["message"] == (
        "These tasks would wait for each other: scout_task → guide_task → scout_task."
    )


async def test_a_taken_name_and_an_archived_project_are_refused(graph: Graph) -> None:
    project_id = await graph.project()
    await _import(graph, project_id)

    async with nothing_written(graph):
        taken = await _import(graph, project_id)
    await graph.mutate("archiveProject", "project { id }", id=project_id)
    async with nothing_written(graph):
        closed = await _import(graph, project_id)

    told = [(error["code"], error["path"]) for payload in (taken, closed) for error in payload["errors"]]
    assert told == [("NAME_TAKEN", ["input", "name"]), ("ARCHIVED", ["input", "projectId"])]


async def test_only_teams_of_ones_own_can_be_exported(graph: Graph) -> None:
    strangers = await strangers_things(graph)
    project_id = await graph.project()

    for identifier in (strangers["Team"], unknown("Team")):
        assert await graph.query(EXPORTED, id=identifier) == {"exportedCrew": None}
    for identifier in (project_id, "nonsense"):
        assert await graph.query(EXPORTED, id=identifier) == {"exportedCrew": None}
