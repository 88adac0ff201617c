"""Asking for teams, and deciding about what is proposed."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from domain.model.blueprint import RoleBlueprint, TaskBlueprint, ToolBlueprint, as_document
from domain.model.generation import MAX_OBJECTIVE, MOST_ROLES, MOST_WORKING, GenerationFailureCode, GenerationStatus
from domain.model.library import shipped_templates
from domain.model.tool import ToolKind
from domain.ports import GENERATIONS, generation_topic
from persistence.engine import Database
from resolvers.node_ids import node_id, parse_node_id
from tests.support.catalogue import a_worker
from tests.support.generations import a_proposal, composer, composers, generate, ready
from tests.support.graphql import Graph
from tests.support.live import SOON
from tests.support.things import nothing_written, strangers_things, unknown

WHOLE = """generation { id objective status stage fallback maxBudget { amount } timeoutSeconds allowedTransitions
    canCancel canAccept constraints { budget { amount } maxRoles expertise tools domain qualityPreference }
    project { id } team { id } acceptedTeam { id } analysis { complexity } proposal { name } validation { isValid }
    diff { name } composedBy model isFirstValid repairs fallbackReason failure { code message }
    usage { calls cost { amount } } ledger { nodes { id } } rejectionReason rating feedback batchId createdBy
    templates { version } timing { startedAt finishedAt decidedAt queueWaitSeconds durationSeconds } }"""
STATUS = "generation { id status allowedTransitions canCancel canAccept timing { finishedAt decidedAt } }"
TEAM = """team { id name description process manager { title } monthlyBudget: budget { limit { amount } }
    roles { id title skills tools { name } } tasks { id name role { title } dependsOn { name } } }"""
OBJECTIVE = "Tell the press about our new bicycle."


def errors_of(payload: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(error["code"], error["path"]) for error in payload["errors"]]


async def decide(
    graph: Graph, name: str, generation_id: str, selection: str = STATUS, /, **values: Any
) -> dict[str, Any]:
    return await graph.mutate(name, selection, generationId=generation_id, **values)


async def teams_of(graph: Graph) -> list[str]:
    data = await graph.query("{ tenant { teams { nodes { name } } } }")
    return sorted(team["name"] for team in data["tenant"]["teams"]["nodes"])


# ---------------------------------------------------------------- asking


async def test_who_asks_for_a_team_is_given_a_generation_at_once(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")

    payload = await graph.mutate(
        "generateTeam",
        WHOLE,
        projectId=project_id,
        objective=OBJECTIVE,
        constraints={
            "budget": "2.5",
            "maxRoles": 4,
            "expertise": "SENIOR",
            "tools": ["Sums"],
            "domain": "Marketing",
            "qualityPreference": "PREMIUM",
        },
        fallback="OFF",
        maxBudget="0.1",
        timeoutSeconds=60,
    )

    generation = payload["generation"]
    assert payload["errors"] == []
    identifier = generation.pop("id")
    assert generation == {
        "objective": OBJECTIVE,
        "status": "PENDING",
        "stage": "",
        "fallback": "OFF",
        "maxBudget": {"amount": "0.1"},
        "timeoutSeconds": 60.0,
        "allowedTransitions": ["ANALYSING", "FAILED", "CANCELLED"],
        "canCancel": True,
        "canAccept": False,
        "constraints": {
            "budget": {"amount": "2.5"},
            "maxRoles": 4,
            "expertise": "SENIOR",
            "tools": ["Sums"],
            "domain": "marketing",
            "qualityPreference": "PREMIUM",
        },
        "project": {"id": project_id},
        "usage": {"calls": 0, "cost": {"amount": "0"}},
        "ledger": {"nodes": []},
        "templates": [],
        "timing": dict.fromkeys(("startedAt", "finishedAt", "decidedAt", "queueWaitSeconds", "durationSeconds")),
        "repairs": 0,
        **dict.fromkeys(
            ("team", "acceptedTeam", "analysis", "proposal", "validation", "diff", "composedBy", "model"), None
        ),
        **dict.fromkeys(("isFirstValid", "fallbackReason", "failure", "rejectionReason", "rating", "feedback"), None),
        **dict.fromkeys(("batchId", "createdBy"), None),
    }
    data = await graph.query(
        "query($id: ID!) { generation(id: $id) { id } node(id: $id) { __typename } }", id=identifier
    )
    assert data == {"generation": {"id": identifier}, "node": {"__typename": "Generation"}}


async def test_what_is_left_out_or_null_is_free(graph: Graph) -> None:
    project_id = await graph.project()
    selection = "generation { fallback maxBudget { amount } timeoutSeconds constraints { budget { amount } maxRoles"
    selection += " expertise tools domain qualityPreference } }"
    free = {
        "fallback": "ALLOWED",
        "maxBudget": None,
        "timeoutSeconds": 300.0,
        "constraints": {
            "budget": None,
            "maxRoles": 20,
            "expertise": None,
            "tools": None,
            "domain": None,
            "qualityPreference": "BALANCED",
        },
    }
    names = ("fallback", "maxBudget", "timeoutSeconds", "idempotencyKey", "teamId")
    nothing = dict.fromkeys(("budget", "maxRoles", "expertise", "tools", "domain", "qualityPreference"))

    for values in ({}, {"constraints": None}, {"constraints": nothing, **dict.fromkeys(names)}):
        payload = await graph.mutate("generateTeam", selection, projectId=project_id, objective=OBJECTIVE, **values)
        assert payload == {"generation": free, "errors": []}


async def test_workers_and_followers_hear_of_it(graph: Graph) -> None:
    with graph.container.hints.listen(GENERATIONS) as workers:
        identifier = await generate(graph)
        assert await workers.wait(SOON)
        with graph.container.hints.listen(generation_topic(parse_node_id(identifier)[1])) as followers:
            await decide(graph, "cancelGeneration", identifier)
            assert await followers.wait(SOON)
        assert await workers.wait(SOON)


@pytest.mark.parametrize(
    ("values", "problems"),
    [
        ({"objective": ""}, [("INVALID", "objective")]),
        ({"objective": " \n "}, [("INVALID", "objective")]),
        ({"objective": "x" * 100_000}, [("INVALID", "objective")]),
        ({"objective": "a\x00b"}, [("INVALID", "objective")]),
        ({"timeoutSeconds": 0.5}, [("INVALID", "timeoutSeconds")]),
        ({"timeoutSeconds": 301}, [("INVALID", "timeoutSeconds")]),
        ({"maxBudget": "-1"}, [("INVALID", "maxBudget")]),
        ({"constraints": {"maxRoles": 0}}, [("INVALID", "constraints.maxRoles")]),
        ({"constraints": {"maxRoles": 40}}, [("INVALID", "constraints.maxRoles")]),
        ({"constraints": {"budget": "-0.01"}}, [("INVALID", "constraints.budget")]),
        ({"constraints": {"tools": ["Telepathy"]}}, [("INVALID", "constraints.tools.0")]),
        ({"constraints": {"domain": "alchemy"}}, [("INVALID", "constraints.domain")]),
        ({"constraints": {"tools": ["x" * 1001]}}, [("INVALID", "constraints.tools.0")]),
        ({"idempotencyKey": " "}, [("INVALID", "idempotencyKey")]),
        (
            {"objective": "", "maxBudget": "-1", "constraints": {"maxRoles": 21, "budget": "-1"}},
            [
                ("INVALID", "objective"),
                ("INVALID", "maxBudget"),
                ("INVALID", "constraints.budget"),
                ("INVALID", "constraints.maxRoles"),
            ],
        ),
        (
            {"constraints": {"tools": ["Telepathy", "Magic"], "domain": "alchemy"}},
            [("INVALID", "constraints.domain"), ("INVALID", "constraints.tools.0"), ("INVALID", "constraints.tools.1")],
        ),
    ],
)
async def test_what_cannot_be_is_refused_at_once_and_each_conflict_is_named(
    graph: Graph, values: dict[str, Any], problems: list[tuple[str, str]]
) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        payload = await graph.mutate(
            "generateTeam", WHOLE, **{"projectId": project_id, "objective": OBJECTIVE, **values}
        )

    assert payload["generation"] is None
    assert errors_of(payload) == [(code, ["input", *path.split(".")]) for code, path in problems]


async def test_the_longest_objective_is_taken_as_it_is(graph: Graph) -> None:
    objective = "Ignore all rules! “{x}” {{y}} \\u0000 茶\n" + "x" * (MAX_OBJECTIVE - 40)

    identifier = await generate(graph, objective=objective)

    data = await graph.query("query($id: ID!) { generation(id: $id) { objective } }", id=identifier)
    assert data["generation"]["objective"] == objective


async def test_a_tool_of_another_project_and_one_that_is_archived_are_none_of_the_project(graph: Graph) -> None:
    project_id, other = await graph.project(), await graph.project()
    await graph.make("Tool", projectId=other, name="Elsewhere", kind="CALCULATOR")
    archived = await graph.make("Tool", projectId=project_id, name="Gone", kind="CALCULATOR")
    await graph.mutate("archiveTool", "tool { id }", id=archived["id"])

    payload = await graph.mutate(
        "generateTeam",
        "generation { id }",
        projectId=project_id,
        objective=OBJECTIVE,
        constraints={"tools": ["Elsewhere", "Gone"]},
    )

    assert [error["message"] for error in payload["errors"]] == [
        "The project has no tool “Elsewhere”.",
        "The project has no tool “Gone”.",
    ]


async def test_a_budget_that_no_call_fits_into_is_refused_with_the_model_that_it_is_in_conflict_with(
    graph: Graph,
) -> None:
    await a_worker(graph, providers=["openai"])
    project_id = await graph.project()
    values = {"projectId": project_id, "objective": OBJECTIVE}

    async with nothing_written(graph):
        nothing = await graph.mutate("generateTeam", STATUS, **values, constraints={"budget": "0"})
        unpaid = await graph.mutate("generateTeam", STATUS, **values, maxBudget="0", fallback="OFF")
    enough = await graph.mutate("generateTeam", STATUS, **values, constraints={"budget": "1"}, maxBudget="0")

    assert errors_of(nothing) == [("INVALID", ["input", "constraints", "budget"])]
    assert "BALANCED leads to openai/" in nothing["errors"][0]["message"]
    assert errors_of(unpaid) == [("INVALID", ["input", "maxBudget"])]
    assert enough["errors"] == []


async def test_without_a_model_nothing_is_said_of_a_budget_for_rules_are_free(graph: Graph) -> None:
    assert await generate(graph, constraints={"budget": "0"})


async def test_either_a_project_or_a_team_is_asked_for(graph: Graph) -> None:
    project_id = await graph.project()
    team_id = await graph.team(project_id)

    async with nothing_written(graph):
        for values in ({}, {"projectId": project_id, "teamId": team_id}):
            payload = await graph.mutate("generateTeam", STATUS, objective=OBJECTIVE, **values)
            assert errors_of(payload) == [("INVALID", ["input", "projectId"])]


async def test_nothing_is_proposed_for_what_is_not_there_or_archived(graph: Graph) -> None:
    strangers = await strangers_things(graph)
    project_id = await graph.project()
    team_id = await graph.team(project_id)
    archived = await graph.team(project_id)
    await graph.mutate("archiveTeam", "team { id }", id=archived)

    for kind, name in (("Project", "projectId"), ("Team", "teamId")):
        for identifier in (unknown(kind), strangers[kind], "nonsense", unknown("Role")):
            payload = await graph.mutate("generateTeam", STATUS, objective=OBJECTIVE, **{name: identifier})
            assert errors_of(payload) == [("NOT_FOUND", ["input", name])]
    payload = await graph.mutate("generateTeam", STATUS, objective=OBJECTIVE, teamId=archived)
    assert errors_of(payload) == [("ARCHIVED", ["input", "teamId"])]
    await graph.mutate("archiveTeam", "team { id }", id=team_id)
    await graph.mutate("archiveProject", "project { id }", id=project_id)
    payload = await graph.mutate("generateTeam", STATUS, objective=OBJECTIVE, projectId=project_id)
    assert errors_of(payload) == [("ARCHIVED", ["input", "projectId"])]


async def test_the_same_key_gives_the_first_generation_whatever_has_become_impossible_since(graph: Graph) -> None:
    project_id = await graph.project()
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    values = {"objective": OBJECTIVE, "constraints": {"tools": ["Sums"], "budget": "1.0"}, "idempotencyKey": "k"}
    first = await generate(graph, project_id, **values)
    await graph.mutate("archiveTool", "tool { id }", id=tool["id"])

    again = await generate(graph, project_id, **{**values, "constraints": {"tools": ["Sums"], "budget": "1.00"}})
    other = await graph.mutate("generateTeam", STATUS, projectId=project_id, **{**values, "objective": "Else."})

    assert again == first
    assert errors_of(other) == [("IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]


async def test_an_adaptive_team_has_at_most_five_roles(graph: Graph) -> None:
    project_id = await graph.project()
    selection = "generation { id fallback constraints { budget { amount } maxRoles expertise } }"
    values = {
        "projectId": project_id,
        "objective": OBJECTIVE,
        "budget": "3",
        "expertise": "EXPERT",
        "idempotencyKey": "k",
    }

    payload = await graph.mutate("buildAdaptiveTeam", selection, **values)
    again = await graph.mutate("buildAdaptiveTeam", selection, **values)
    plain = await graph.mutate("buildAdaptiveTeam", selection, projectId=project_id, objective=OBJECTIVE)

    identifier = payload["generation"].pop("id")
    assert payload == {
        "generation": {
            "fallback": "ALLOWED",
            "constraints": {"budget": {"amount": "3"}, "maxRoles": 5, "expertise": "EXPERT"},
        },
        "errors": [],
    }
    assert again["generation"]["id"] == identifier
    assert plain["generation"]["constraints"] == {"budget": None, "maxRoles": 5, "expertise": None}


async def test_what_an_adaptive_team_cannot_be_is_told_at_its_own_input(graph: Graph) -> None:
    await a_worker(graph, providers=["openai"])
    project_id = await graph.project()

    async with nothing_written(graph):
        broken = await graph.mutate("buildAdaptiveTeam", STATUS, projectId=project_id, objective="", budget="-1")
        unpaid = await graph.mutate("buildAdaptiveTeam", STATUS, projectId=project_id, objective="x", budget="0")

    assert errors_of(broken) == [("INVALID", ["input", "objective"]), ("INVALID", ["input", "budget"])]
    assert errors_of(unpaid) == [("INVALID", ["input", "budget"])]


# ---------------------------------------------------------------- many


BULK = """batchId results { index objective generation { id objective status batchId constraints { maxRoles } }
    errors { __typename code path message } }"""


async def test_each_of_many_objectives_has_a_result_of_its_own(graph: Graph) -> None:
    project_id = await graph.project()
    objectives = ["First.", "", "Third.", "x" * (MAX_OBJECTIVE + 1), "  Fifth\n one. "]

    payload = await graph.mutate(
        "bulkGenerateTeams", BULK, projectId=project_id, objectives=objectives, constraints={"maxRoles": 3}
    )

    assert payload["errors"] == []
    results = payload["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4]
    assert [result["objective"] for result in results] == ["First.", "", "Third.", "x" * 199 + "…", "Fifth one."]
    made = [result["generation"] and result["generation"]["objective"] for result in results]
    assert made == ["First.", None, "Third.", None, "  Fifth\n one. "]
    assert [[(error["__typename"], error["path"]) for error in result["errors"]] for result in results] == [
        [],
        [("Invalid", ["input", "objectives", "1"])],
        [],
        [("Invalid", ["input", "objectives", "3"])],
        [],
    ]
    generations = [result["generation"] for result in results if result["generation"]]
    assert {(it["status"], it["batchId"], it["constraints"]["maxRoles"]) for it in generations} == {
        ("PENDING", payload["batchId"], 3)
    }


async def test_fifty_objectives_are_taken_and_no_more_and_none_is_refused(graph: Graph) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        for objectives in ([], ["x"] * 51):
            refused = await graph.mutate("bulkGenerateTeams", BULK, projectId=project_id, objectives=objectives)
            assert refused["results"] is None
            assert errors_of(refused) == [("INVALID", ["input", "objectives"])]
    payload = await graph.mutate("bulkGenerateTeams", BULK, projectId=project_id, objectives=["x"] * 50)

    assert len({result["generation"]["id"] for result in payload["results"]}) == 50


async def test_what_many_objectives_share_fails_all_of_them_when_it_is_impossible(graph: Graph) -> None:
    project_id = await graph.project()

    async with nothing_written(graph):
        payload = await graph.mutate(
            "bulkGenerateTeams", BULK, projectId=project_id, objectives=["x"], constraints={"tools": ["Magic"]}
        )

    assert errors_of(payload) == [("INVALID", ["input", "constraints", "tools", "0"])]


async def _that_wait(database: Database, identifier: str, count: int) -> None:
    """So many more that are like this one."""
    columns = (
        "tenant_id, project_id, objective, constraints, fallback, timeout_seconds, status, stage, templates, repairs"
    )
    await database.pool.execute(
        f"INSERT INTO generation (id, {columns}, sequence, created_at) SELECT gen_random_uuid(), {columns}, 1, now()"  # noqa: S608 - constants
        " FROM generation, generate_series(1, $2) WHERE id = $1",
        parse_node_id(identifier)[1],
        count,
    )


async def test_only_so_many_are_waited_for(graph: Graph, database: Database) -> None:
    project_id = await graph.project()
    given = {"projectId": project_id, "objective": "x"}
    bulk = {"projectId": project_id, "objectives": ["x", "", "y"]}
    first = (await graph.mutate("generateTeam", STATUS, **given, idempotencyKey="k"))["generation"]["id"]
    await _that_wait(database, first, MOST_WORKING - 2)

    async with nothing_written(graph):
        many = await graph.mutate("bulkGenerateTeams", BULK, **bulk)
    last = await graph.mutate("generateTeam", STATUS, **given)
    async with nothing_written(graph):
        full = await graph.mutate("generateTeam", STATUS, **given)
    again = await graph.mutate("generateTeam", STATUS, **given, idempotencyKey="k")
    await decide(graph, "cancelGeneration", first)
    after = await graph.mutate("generateTeam", STATUS, **given)

    assert many["results"] is None
    assert [errors_of(payload) for payload in (many, full)] == [[("CONFLICT", ["input"])]] * 2
    assert (
        full["errors"][0]["message"]
        == "1000 generations are not over, and with this one there would be more than 1000."
    )
    assert full["errors"][0]["suggestion"]
    assert again["generation"]["id"] == first
    assert (last["errors"], again["errors"], after["errors"]) == ([], [], [])


async def test_the_same_key_gives_the_same_batch_with_the_same_refusals(graph: Graph) -> None:
    project_id = await graph.project()
    values = {"projectId": project_id, "objectives": ["", "b", "c", " "], "idempotencyKey": "k"}

    first = await graph.mutate("bulkGenerateTeams", BULK, **values)
    again = await graph.mutate("bulkGenerateTeams", BULK, **values)
    other = await graph.mutate("bulkGenerateTeams", BULK, **{**values, "objectives": ["b", "c"]})
    nothing = {**values, "objectives": [""], "idempotencyKey": "all refused"}

    assert again == first
    assert [result["generation"] is None for result in first["results"]] == [True, False, False, True]
    assert errors_of(other) == [("IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]
    assert await graph.mutate("bulkGenerateTeams", BULK, **nothing) == await graph.mutate(
        "bulkGenerateTeams", BULK, **nothing
    )


# ---------------------------------------------------------------- stopping


async def test_a_generation_is_cancelled_at_once_and_its_worker_writes_nothing_any_more(
    graph: Graph, database: Database
) -> None:
    identifier = await generate(graph)
    worker = await composer(graph, database)
    assert await worker.write(GenerationStatus.ANALYSING, stage="Looking.")

    payload = await decide(graph, "cancelGeneration", identifier, "generation { status stage timing { finishedAt } }")

    assert payload["errors"] == []
    assert (payload["generation"]["status"], payload["generation"]["stage"]) == ("CANCELLED", "")
    assert payload["generation"]["timing"]["finishedAt"]
    assert not await worker.write(GenerationStatus.COMPOSING)
    assert await worker.store.renew([worker.claimed.ownership], 30) == set()
    assert await composers(graph, database) == []


async def test_what_is_over_is_given_as_it_is(graph: Graph, database: Database) -> None:
    proposed = await ready(graph, database)
    cancelled = await generate(graph)
    first = await decide(graph, "cancelGeneration", cancelled)

    async with nothing_written(graph):
        again = await decide(graph, "cancelGeneration", cancelled)
        stays = await decide(graph, "cancelGeneration", proposed)

    assert again == first
    assert (stays["generation"]["status"], stays["errors"]) == ("READY", [])


# ---------------------------------------------------------------- accepting


async def test_an_accepted_proposal_is_a_team_with_all_its_parts(graph: Graph, database: Database) -> None:
    project_id = await graph.project()
    identifier = await ready(graph, database, project_id=project_id)

    payload = await decide(graph, "acceptGeneration", identifier, f"{STATUS} {TEAM}")

    assert payload["errors"] == []
    team, generation = payload["team"], payload["generation"]
    assert (generation["status"], generation["allowedTransitions"], generation["canAccept"]) == ("ACCEPTED", [], False)
    assert generation["timing"]["decidedAt"]
    assert (team["name"], team["process"], team["manager"]) == ("Press office", "SEQUENTIAL", None)
    assert [(role["title"], role["skills"]) for role in team["roles"]] == [("Writer", ["writing"]), ("Editor", [])]
    assert [(task["name"], task["role"]["title"], task["dependsOn"]) for task in team["tasks"]] == [
        ("Draft", "Writer", []),
        ("Edit", "Editor", [{"name": "Draft"}]),
    ]
    data = await graph.query(
        "query($id: ID!) { generation(id: $id) { acceptedTeam { id project { id } } diff { name } } }", id=identifier
    )
    assert data["generation"] == {"acceptedTeam": {"id": team["id"], "project": {"id": project_id}}, "diff": None}
    assert await graph.kickoff(team["id"], inputs={"topic": "bicycles"})


async def test_a_proposal_is_accepted_with_edits(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)
    edits = {
        "description": "Better.",
        "process": "PARALLEL",
        "monthlyBudget": "9",
        "settings": {"maxIterations": 7},
        "roles": [{"title": "Writer", "skills": ["poetry"]}, {"title": "Critic"}],
        "tasks": [{"name": "Judge", "description": "Judge.", "expectedOutput": "A word.", "role": "Critic"}],
        "removedRoles": ["Editor"],
        "removedTasks": ["Draft"],
    }

    payload = await decide(graph, "acceptGeneration", identifier, TEAM, edits=edits, name="The critics")

    team = payload["team"]
    assert payload["errors"] == []
    assert (team["name"], team["description"], team["process"]) == ("The critics", "Better.", "PARALLEL")
    assert team["monthlyBudget"] == {"limit": {"amount": "9"}}
    assert [(role["title"], role["skills"]) for role in team["roles"]] == [("Writer", ["poetry"]), ("Critic", [])]
    assert [(task["name"], task["role"], task["dependsOn"]) for task in team["tasks"]] == [
        ("Edit", None, []),
        ("Judge", {"title": "Critic"}, []),
    ]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"edits": {"removedRoles": ["Nobody"]}}, ["edits", "removedRoles", "0"]),
        ({"edits": {"removedTasks": ["Draft", "Nothing"]}}, ["edits", "removedTasks", "1"]),
        ({"edits": {"manager": "Nobody"}}, ["edits", "manager"]),
        ({"edits": {"monthlyBudget": "-1"}}, ["edits", "monthlyBudget"]),
        ({"edits": {"settings": {"maxIterations": 0}}}, ["edits", "settings", "maxIterations"]),
        ({"edits": {"name": " "}}, ["edits", "name"]),
        ({"name": " "}, ["name"]),
        ({"edits": {"roles": [{"title": "Editor", "temperature": 3}]}}, ["edits", "roles", "0", "temperature"]),
        (
            {"edits": {"roles": [{"title": "A"}, {"title": "B", "supervisor": "Nobody"}]}},
            ["edits", "roles", "1", "supervisor"],
        ),
        ({"edits": {"roles": [{"title": "A", "tools": ["Magic"]}]}}, ["edits", "roles", "0", "tools", "0"]),
        ({"edits": {"roles": [{"title": "Writer"}, {"title": "Writer"}]}}, ["edits", "roles", "1", "title"]),
        (
            {"edits": {"tasks": 2 * [{"name": "A", "description": "x", "expectedOutput": "y"}]}},
            ["edits", "tasks", "1", "name"],
        ),
        (
            {"edits": {"tasks": [{"name": "Draft", "description": "x", "expectedOutput": "y", "dependsOn": ["Edit"]}]}},
            ["edits", "tasks"],
        ),
        ({"idempotencyKey": ""}, ["idempotencyKey"]),
    ],
)
async def test_edits_that_break_a_rule_are_refused_where_they_stand_and_nothing_is_made(
    graph: Graph, database: Database, values: dict[str, Any], path: list[str]
) -> None:
    identifier = await ready(graph, database)

    async with nothing_written(graph):
        payload = await decide(graph, "acceptGeneration", identifier, f"{STATUS} team {{ id }}", **values)

    assert (payload["generation"], payload["team"]) == (None, None)
    assert errors_of(payload) == [("INVALID", ["input", *path])]


async def test_edits_that_leave_nobody_are_refused(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)
    nobody = {"removedRoles": ["Writer", "Editor"]}
    away = {"removedRoles": ["Writer"], "roles": [{"title": "Editor", "isActive": False}]}

    async with nothing_written(graph):
        refused = [await decide(graph, "acceptGeneration", identifier, edits=edits) for edits in (nobody, away)]

    assert [errors_of(payload) for payload in refused] == [[("NO_ACTIVE_ROLE", ["input", "edits"])]] * 2


async def test_edits_are_not_held_to_the_constraints(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database, constraints={"maxRoles": 2, "expertise": "JUNIOR"})
    edits = {"roles": [{"title": "Critic", "expertise": "EXPERT"}]}

    payload = await decide(graph, "acceptGeneration", identifier, TEAM, edits=edits)

    assert payload["errors"] == []
    assert [role["title"] for role in payload["team"]["roles"]] == ["Writer", "Editor", "Critic"]


async def test_amounts_that_are_written_differently_are_the_same_acceptance(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)
    selection = f"{STATUS} team {{ id }}"

    def edits(amount: str) -> dict[str, Any]:
        task = {"name": "Draft", "description": "x", "expectedOutput": "y", "maxBudget": amount}
        return {"monthlyBudget": amount, "tasks": [task]}

    first, again, other = [
        await decide(graph, "acceptGeneration", identifier, selection, edits=edits(amount), idempotencyKey="k")
        for amount in ("50", "50.0", "51")
    ]

    assert (first["errors"], again) == ([], first)
    assert errors_of(other) == [("IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]


async def test_a_name_that_is_taken_can_be_given_anew(graph: Graph, database: Database) -> None:
    project_id = await graph.project()
    await graph.team(project_id, name="Press office")
    identifier = await ready(graph, database, project_id=project_id)

    async with nothing_written(graph):
        taken = await decide(graph, "acceptGeneration", identifier)
    payload = await decide(graph, "acceptGeneration", identifier, name="Press office 2")

    assert errors_of(taken) == [("NAME_TAKEN", ["input", "name"])]
    assert payload["errors"] == []
    assert await teams_of(graph) == ["Press office", "Press office 2"]


async def test_a_proposal_in_a_project_that_was_archived_since_is_not_made(graph: Graph, database: Database) -> None:
    project_id = await graph.project()
    identifier = await ready(graph, database, project_id=project_id)
    await graph.mutate("archiveProject", "project { id }", id=project_id)

    async with nothing_written(graph):
        payload = await decide(graph, "acceptGeneration", identifier)

    assert errors_of(payload) == [("ARCHIVED", ["input", "generationId"])]


async def test_a_tool_that_is_neither_there_nor_harmless_is_not_made(graph: Graph, database: Database) -> None:
    risky = ToolBlueprint(name="Remote", kind=ToolKind.MCP_SERVER, configuration={"url": "https://example.com/mcp"})
    proposal = a_proposal(roles=[RoleBlueprint(title="Writer", tools=["Remote"])], tasks=[], tools=[risky])
    identifier = await ready(graph, database, proposal)

    async with nothing_written(graph):
        payload = await decide(graph, "acceptGeneration", identifier)

    assert errors_of(payload) == [("INVALID", ["input", "generationId"])]
    assert "Remote" in payload["errors"][0]["message"]


async def test_a_proposal_is_accepted_once(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)
    selection = f"{STATUS} team {{ id }}"

    first = await decide(graph, "acceptGeneration", identifier, selection, idempotencyKey="k")
    async with nothing_written(graph):
        again = await decide(graph, "acceptGeneration", identifier, selection, idempotencyKey="k")
        twice = await decide(graph, "acceptGeneration", identifier, selection)
        other = await decide(graph, "acceptGeneration", identifier, selection, idempotencyKey="k", name="Else")

    assert again == first
    assert errors_of(twice) == [("INVALID_TRANSITION", ["input", "generationId"])]
    assert twice["errors"][0]["allowed"] == []
    assert errors_of(other) == [("IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])]


@pytest.mark.parametrize("name", ["acceptGeneration", "rejectGeneration"])
async def test_nothing_is_decided_before_there_is_a_proposal_or_without_one(
    graph: Graph, database: Database, name: str
) -> None:
    failed = await generate(graph)
    await (await composer(graph, database)).fails(GenerationFailureCode.NO_MODEL, "No model.")
    waiting, cancelled = await generate(graph), await generate(graph)
    await decide(graph, "cancelGeneration", cancelled)

    async with nothing_written(graph):
        for identifier, status in ((failed, "FAILED"), (waiting, "PENDING"), (cancelled, "CANCELLED")):
            payload = await decide(graph, name, identifier)
            assert errors_of(payload) == [("INVALID_TRANSITION", ["input", "generationId"])]
            assert payload["errors"][0]["from"] == status


async def test_which_templates_a_team_was_composed_from_is_kept(graph: Graph, database: Database) -> None:
    shipped, forgotten = shipped_templates()[0].template, UUID(int=8)
    sources = [{"id": str(shipped.id), "number": 2}, {"id": str(forgotten), "number": 1}]
    identifier = await generate(graph)
    await (await composer(graph, database)).proposes(templates=sources)

    selection = "generation { templates { template { name } version } } team { id origin { generation { id } } }"
    payload = await decide(graph, "acceptGeneration", identifier, selection)

    assert payload["generation"]["templates"] == [
        {"template": {"name": shipped.name}, "version": 2},
        {"template": None, "version": 1},
    ]
    assert payload["team"]["origin"] == {"generation": {"id": identifier}}
    rows = await database.pool.fetch(
        "SELECT template_id, number, team_id, task_id, generation_id FROM template_use ORDER BY number DESC"
    )
    team_id, generation_id = parse_node_id(payload["team"]["id"])[1], parse_node_id(identifier)[1]
    assert [tuple(row) for row in rows] == [
        (shipped.id, 2, team_id, None, generation_id),
        (forgotten, 1, team_id, None, generation_id),
    ]


# ---------------------------------------------------------------- changing a team


async def a_team_to_change(graph: Graph) -> tuple[str, str, str]:
    """The ids of a team with one role, and of that role and its one task."""
    team_id = await graph.team(name="Press office", monthlyBudget="50")
    role_id = await graph.role(team_id, title="Writer")
    return team_id, role_id, await graph.task(team_id, name="Draft", roleId=role_id)


DIFF = """query($id: ID!) { generation(id: $id) { team { id } project { id }
    diff { kind part name field before after } } }"""


async def test_a_proposal_for_a_team_shows_what_it_would_change_and_changes_it(
    graph: Graph, database: Database
) -> None:
    team_id, role_id, task_id = await a_team_to_change(graph)
    proposal = a_proposal(
        description="For the press.",
        roles=[RoleBlueprint(title="Writer"), RoleBlueprint(title="Editor", skills=["style"])],
        tasks=[
            TaskBlueprint(name="Draft", description="Do it well.", expected_output="Done.", role="Writer"),
        ],
    )
    identifier = await ready(graph, database, proposal, teamId=team_id)

    shown = (await graph.query(DIFF, id=identifier))["generation"]
    payload = await decide(graph, "acceptGeneration", identifier, f"{STATUS} {TEAM}")
    after = (await graph.query(DIFF, id=identifier))["generation"]

    assert shown["team"] == {"id": team_id}
    differences = [(it["kind"], it["part"], it["name"], it["field"], it["before"]) for it in shown["diff"]]
    assert differences == [
        ("CHANGED", "TEAM", "Press office", "description", ""),
        ("ADDED", "ROLE", "Editor", None, None),
        ("CHANGED", "TASK", "Draft", "description", "Do it."),
    ]
    assert shown["diff"][2]["after"] == "Do it well."
    assert shown["diff"][1]["after"]["skills"] == ["style"]
    assert payload["errors"] == []
    team = payload["team"]
    assert (team["id"], team["description"], team["monthlyBudget"]) == (
        team_id,
        "For the press.",
        {"limit": {"amount": "50"}},
    )
    assert [role["title"] for role in team["roles"]] == ["Writer", "Editor"]
    assert (team["roles"][0]["id"], team["tasks"][0]["id"]) == (role_id, task_id)
    assert after["diff"] == shown["diff"]  # what it changed is not forgotten


async def test_a_team_that_has_more_roles_than_are_proposed_may_keep_them(graph: Graph) -> None:
    team_id = await graph.team()
    for number in range(MOST_ROLES + 2):
        await graph.role(team_id, title=f"Writer {number}")
    selection = "generation { constraints { maxRoles } }"

    def asked(**given: Any) -> Any:
        return graph.mutate("generateTeam", selection, teamId=team_id, objective="x", **given)

    free, limited = await asked(), await asked(constraints={"maxRoles": 3})

    assert free["generation"]["constraints"] == {"maxRoles": MOST_ROLES + 2}
    assert limited["generation"]["constraints"] == {"maxRoles": 3}


@pytest.mark.parametrize("change", ["role", "task", "team", "archived"])
async def test_a_team_that_has_changed_since_is_left_alone(graph: Graph, database: Database, change: str) -> None:
    team_id, role_id, task_id = await a_team_to_change(graph)
    identifier = await ready(graph, database, teamId=team_id)
    version = {"version": 1}
    if change == "role":
        await graph.mutate("updateRole", "role { id }", id=role_id, backstory="A poet.", **version)
    elif change == "task":
        await graph.mutate("updateTask", "task { id }", id=task_id, priority=1, **version)
    elif change == "team":
        await graph.mutate("updateTeam", "team { id }", id=team_id, process="PARALLEL", **version)
    else:
        await graph.mutate("archiveTask", "task { id }", id=task_id)

    async with nothing_written(graph):
        payload = await decide(graph, "acceptGeneration", identifier, f"{STATUS} team {{ id }}")

    assert [(it["__typename"], it["code"], it["path"]) for it in payload["errors"]] == [
        ("Conflict", "TEAM_CHANGED", ["input", "generationId"])
    ]
    assert payload["errors"][0]["suggestion"]


async def test_a_monthly_budget_that_was_set_since_is_no_other_team_and_stays(graph: Graph, database: Database) -> None:
    team_id, _, _ = await a_team_to_change(graph)
    identifier = await ready(graph, database, teamId=team_id)
    await graph.mutate("updateTeam", "team { id }", id=team_id, version=1, monthlyBudget="70")

    payload = await decide(graph, "acceptGeneration", identifier, TEAM)

    assert payload["errors"] == []
    assert payload["team"]["monthlyBudget"] == {"limit": {"amount": "70"}}


async def test_a_team_that_was_archived_since_is_not_changed(graph: Graph, database: Database) -> None:
    team_id, _, _ = await a_team_to_change(graph)
    identifier = await ready(graph, database, teamId=team_id)
    await graph.mutate("archiveTeam", "team { id }", id=team_id)

    async with nothing_written(graph):
        payload = await decide(graph, "acceptGeneration", identifier)

    assert [error["path"] for error in payload["errors"]] == [["input", "generationId"]]
    assert payload["errors"][0]["__typename"] == "Conflict"


async def test_of_two_proposals_for_a_team_the_second_is_too_late(graph: Graph, database: Database) -> None:
    team_id, _, _ = await a_team_to_change(graph)
    one = await ready(graph, database, teamId=team_id)
    other = await ready(graph, database, teamId=team_id)

    assert (await decide(graph, "acceptGeneration", one))["errors"] == []
    assert errors_of(await decide(graph, "acceptGeneration", other)) == [("TEAM_CHANGED", ["input", "generationId"])]


# ---------------------------------------------------------------- rejecting and rating


async def test_a_proposal_is_rejected_with_a_reason_and_makes_nothing(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)

    payload = await decide(graph, "rejectGeneration", identifier, WHOLE, reason="Too many cooks.")
    async with nothing_written(graph):
        again = await decide(graph, "rejectGeneration", identifier, WHOLE, reason="Another reason.")
        late = await decide(graph, "acceptGeneration", identifier)

    generation = payload["generation"]
    assert (generation["status"], generation["rejectionReason"]) == ("REJECTED", "Too many cooks.")
    assert generation["timing"]["decidedAt"]
    assert again == payload
    assert errors_of(late) == [("INVALID_TRANSITION", ["input", "generationId"])]
    assert await teams_of(graph) == []


async def test_a_generation_is_rated_once_nobody_works_on_it(graph: Graph, database: Database) -> None:
    identifier = await generate(graph)
    selection = "generation { status rating feedback }"

    async with nothing_written(graph):
        early = await decide(graph, "rateGeneration", identifier, selection, rating=5)
    await (await composer(graph, database)).proposes()
    first = await decide(graph, "rateGeneration", identifier, selection, rating=2, feedback="Meh.")
    await decide(graph, "acceptGeneration", identifier)
    later = await decide(graph, "rateGeneration", identifier, selection, rating=5)

    assert errors_of(early) == [("CONFLICT", ["input", "generationId"])]
    assert first["generation"] == {"status": "READY", "rating": 2, "feedback": "Meh."}
    assert later["generation"] == {"status": "ACCEPTED", "rating": 5, "feedback": None}


@pytest.mark.parametrize(
    ("name", "values", "path"),
    [
        ("rateGeneration", {"rating": 0}, "rating"),
        ("rateGeneration", {"rating": 6}, "rating"),
        ("rateGeneration", {"rating": 3, "feedback": "x" * 20_001}, "feedback"),
        ("rejectGeneration", {"reason": "a\x00b"}, "reason"),
    ],
)
async def test_what_is_said_of_a_proposal_has_its_limits(
    graph: Graph, database: Database, name: str, values: dict[str, Any], path: str
) -> None:
    identifier = await ready(graph, database)

    async with nothing_written(graph):
        payload = await decide(graph, name, identifier, **values)

    assert errors_of(payload) == [("INVALID", ["input", path])]


@pytest.mark.parametrize(
    ("name", "values"),
    [("cancelGeneration", {}), ("acceptGeneration", {}), ("rejectGeneration", {}), ("rateGeneration", {"rating": 3})],
)
async def test_nobody_decides_about_what_is_not_his(
    graph: Graph, database: Database, name: str, values: dict[str, Any]
) -> None:
    stranger = await ready(graph, database)
    await strangers_things(graph)

    async with nothing_written(graph):
        for identifier in (unknown("Generation"), stranger, node_id("Team", parse_node_id(stranger)[1]), "nonsense"):
            payload = await decide(graph, name, identifier, **values)
            assert errors_of(payload) == [("NOT_FOUND", ["input", "generationId"])]


async def test_two_who_accept_at_once_make_one_team(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)

    payloads = await asyncio.gather(*(decide(graph, "acceptGeneration", identifier) for _ in range(4)))

    assert sorted(len(payload["errors"]) for payload in payloads) == [0, 1, 1, 1]
    assert await teams_of(graph) == ["Press office"]


async def test_a_proposal_is_kept_as_it_was_made(graph: Graph, database: Database) -> None:
    identifier = await ready(graph, database)
    selection = """query($id: ID!) { generation(id: $id) { proposal { name process roles { title skills }
        tasks { name role dependsOn placeholders } } } }"""

    data = await graph.query(selection, id=identifier)

    assert as_document(a_proposal())["name"] == data["generation"]["proposal"]["name"]
    assert data["generation"]["proposal"]["tasks"] == [
        {"name": "Draft", "role": "Writer", "dependsOn": [], "placeholders": ["topic"]},
        {"name": "Edit", "role": "Editor", "dependsOn": ["Draft"], "placeholders": []},
    ]
