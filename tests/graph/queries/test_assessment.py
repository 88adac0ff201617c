"""What is said of teams and objectives before anything runs; nothing is written, and few statements are asked."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from graphql import build_schema, parse, validate

from domain.model.blueprint import blueprint_of
from domain.model.identity import DEFAULT_TENANT, TeamId
from domain.model.skills_catalogue import skills
from domain.services.assessment import stored_team
from resolvers.node_ids import parse_node_id
from schema.schema import SNAPSHOT
from tests.support.catalogue import a_worker
from tests.support.graphql import Graph, counted_statements
from tests.support.histories import Did, past_runs
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

FINDINGS = "code message subject suggestion"
SPAN = "{ low high }"
MONEY = "{ low { amount currency } high { amount } }"
ESTIMATE = f"""basis reason promptTokens {SPAN} completionTokens {SPAN} cost {MONEY} seconds {SPAN}
    tasks {{ name role model tier basis reason promptTokens {SPAN} completionTokens {SPAN} cost {MONEY}
        seconds {SPAN} }}"""
VALIDATION = f"""isValid errors {{ {FINDINGS} }} warnings {{ {FINDINGS} }} recommendations {{ {FINDINGS} }}
    estimate {{ {ESTIMATE} }} success {{ probability {SPAN} basis executions reason }}"""
VALIDATE = f"""query($teamId: ID, $blueprint: BlueprintInput, $projectId: ID, $constraints: ConstraintsInput) {{
    validateTeam(teamId: $teamId, blueprint: $blueprint, projectId: $projectId, constraints: $constraints)
        {{ {VALIDATION} }} }}"""
ESTIMATES = f"""query($teamId: ID!, $inputs: JSON, $quality: QualityPreference) {{
    estimateExecution(teamId: $teamId, inputs: $inputs, qualityPreference: $quality) {{ {ESTIMATE} }} }}"""
MATCH = "match { score reasons { text points of } }"
ANALYZE = f"""query($objective: String!, $constraints: ConstraintsInput) {{
    analyzeObjective(objective: $objective, constraints: $constraints) {{ complexity factors domain process
        roles {SPAN} skills {{ skill {{ name outcome {{ teams }} }} {MATCH} }} templates {{ templateId name {MATCH} }}
    }} }}"""
MATCHES = f"query($taskId: ID!) {{ roleMatches(taskId: $taskId) {{ role {MATCH} }} }}"
SKILLS = """query($search: String, $domain: String, $first: Int! = 20) {
    skills(search: $search, domain: $domain, first: $first) { name roleTitles taskKinds toolKinds keywords domains
        description outcome { teams completed failed successRate meanRating } } }"""

MODEL = "openai/gpt-4o-mini"
CLEAR = "Write a text about the things that were found, for people who know nothing of them."


async def validated(graph: Graph, **given: Any) -> Any:
    async with nothing_written(graph):
        return (await graph.query(VALIDATE, **given))["validateTeam"]


async def estimated(graph: Graph, team_id: str, **given: Any) -> Any:
    async with nothing_written(graph):
        return (await graph.query(ESTIMATES, teamId=team_id, **given))["estimateExecution"]


def codes(findings: list[dict[str, Any]]) -> list[str]:
    return [finding["code"] for finding in findings]


async def a_team(graph: Graph, **task: Any) -> tuple[str, str, str]:
    """A team with one role that names a real model and one clear task: (team, role, task)."""
    await a_worker(graph, providers=["openai"])
    team_id = await graph.team()
    role_id = await graph.role(team_id, title="Writer", skills=["writing"], model=MODEL)
    given = {"name": "Write", "description": CLEAR, "expectedOutput": "A text of 300 words.", "guardrail": "Polite."}
    return team_id, role_id, await graph.task(team_id, roleId=role_id, **{**given, **task})


# ---------------------------------------------------------------- validation


async def test_a_good_team_is_valid_and_its_estimate_adds_up(graph: Graph) -> None:
    team_id, _, _ = await a_team(graph)

    found = await validated(graph, teamId=team_id)

    assert found["isValid"] is True
    assert (found["errors"], found["warnings"], found["recommendations"]) == ([], [], [])
    [task] = found["estimate"]["tasks"]
    assert (task["name"], task["role"], task["model"], task["tier"]) == ("Write", "Writer", MODEL, "STANDARD")
    assert found["estimate"]["cost"] == task["cost"]
    assert 0 < Decimal(task["cost"]["low"]["amount"]) < Decimal(task["cost"]["high"]["amount"])
    assert found["success"]["basis"] == "HEURISTIC"
    assert found["success"]["executions"] == 0
    assert "heuristic" in found["success"]["reason"]


async def test_a_team_without_anything_has_no_role_and_no_estimate(graph: Graph) -> None:
    found = await validated(graph, teamId=await graph.team())

    assert found["isValid"] is False
    assert codes(found["errors"]) == ["NO_ROLE"]
    assert codes(found["warnings"]) == ["NO_TASKS"]
    assert (found["estimate"], found["success"]) == (None, None)


async def test_every_kind_of_thing_that_is_wrong_with_a_team_is_found(graph: Graph) -> None:
    team_id, role_id, _ = await a_team(graph, requiredSkills=["law"])
    await graph.role(team_id, title="Helper", model="openai/nonsense")

    found = await validated(graph, teamId=team_id)

    assert codes(found["errors"]) == ["NO_CAPABLE_ROLE", "UNUSABLE_MODEL"]
    assert [finding["subject"] for finding in found["errors"]] == ["Write", "Helper"]
    assert codes(found["warnings"]) == ["ROLE_WITHOUT_TASK"]
    assert role_id


async def test_without_a_usable_model_the_pinned_one_is_the_error(graph: Graph) -> None:
    team_id = await graph.team()
    await graph.task(team_id, roleId=await graph.role(team_id, model=MODEL))

    found = await validated(graph, teamId=team_id)

    [error] = found["errors"]
    assert error["code"] == "UNUSABLE_MODEL"
    assert "There is no key for openai" in error["message"]
    assert found["success"] is None


async def test_an_archived_tool_cannot_be_used(graph: Graph) -> None:
    project_id = await graph.project()
    tool = await graph.make("Tool", projectId=project_id, name="Sums", kind="CALCULATOR")
    team_id = await graph.team(project_id)
    await graph.task(team_id, roleId=await graph.role(team_id, toolIds=[tool["id"]]))
    before = await validated(graph, teamId=team_id)

    await graph.mutate("archiveTool", "tool { id }", id=tool["id"])

    assert before["errors"] == []
    [error] = (await validated(graph, teamId=team_id))["errors"]
    assert (error["code"], error["subject"]) == ("UNUSABLE_TOOL", "Sums")


async def test_a_search_without_a_search_engine_cannot_be_used(graph: Graph) -> None:
    blueprint = {
        "name": "Team",
        "roles": [{"title": "Writer", "tools": ["Search"]}],
        "tools": [{"name": "Search", "kind": "WEB_SEARCH"}],
    }

    [error] = (await validated(graph, blueprint=blueprint))["errors"]

    assert (error["code"], error["subject"]) == ("UNUSABLE_TOOL", "Search")
    assert "No search engine is configured" in error["message"]


async def test_a_proposal_is_validated_without_being_made(graph: Graph) -> None:
    project_id = await graph.project()
    server = {"name": "Files", "kind": "MCP_SERVER", "configuration": {"url": "https://mcp.example.org"}}
    blueprint = {"name": "Team", "roles": [{"title": "Writer", "tools": ["Files"]}], "tools": [server]}

    anywhere = await validated(graph, blueprint=blueprint)
    there = await validated(graph, blueprint=blueprint, projectId=project_id)
    await graph.make("Tool", projectId=project_id, **server)
    with_tool = await validated(graph, blueprint=blueprint, projectId=project_id)

    assert anywhere["errors"] == []
    assert [(error["code"], error["subject"]) for error in there["errors"]] == [("UNUSABLE_TOOL", "Files")]
    assert with_tool["errors"] == []


async def test_a_proposal_that_is_no_team_is_told_all_that_is_wrong(graph: Graph) -> None:
    task = {"description": "Do it.", "expectedOutput": "Done."}
    cyclic = {
        "name": "Team",
        "roles": [{"title": "Writer"}],
        "tasks": [{"name": "A", "dependsOn": ["B"], **task}, {"name": "B", "dependsOn": ["A"], **task}],
    }
    broken = {"name": "", "roles": [{"title": "A"}, {"title": "A"}], "tasks": [{"name": "T", "role": "X", **task}]}

    assert codes((await validated(graph, blueprint=cyclic))["errors"]) == ["DEPENDENCY_CYCLE"]
    errors = (await validated(graph, blueprint=broken, constraints={"maxRoles": 1}))["errors"]
    assert codes(errors) == ["INVALID", "INVALID", "INVALID", "TOO_MANY_ROLES"]


async def test_texts_that_no_run_may_have_are_a_finding(graph: Graph) -> None:
    task = {"description": "x" * 20_000, "expectedOutput": "y" * 20_000}
    tasks = [{"name": f"Task {number}", **task} for number in range(51)]

    found = await validated(graph, blueprint={"name": "Team", "roles": [{"title": "Writer"}], "tasks": tasks})

    assert codes(found["errors"]) == ["INVALID"]
    assert "more than 2000000 characters" in found["errors"][0]["message"]
    assert found["estimate"] is None


async def test_constraints_that_a_team_breaks_are_errors_and_the_estimate_stays(graph: Graph) -> None:
    team_id, _, _ = await a_team(graph)

    found = await validated(graph, teamId=team_id, constraints={"budget": "0.000001", "expertise": "JUNIOR"})

    assert codes(found["errors"]) == ["EXPERTISE_TOO_HIGH", "OVER_BUDGET"]
    assert "are in conflict" in found["errors"][1]["message"]
    assert found["estimate"] is not None
    assert found["success"] is not None


async def test_a_team_may_have_more_roles_than_are_ever_proposed(graph: Graph) -> None:
    roles = [{"title": f"Writer {number}"} for number in range(25)]

    for constraints in ({}, {"maxRoles": None}, {"expertise": "EXPERT"}):
        found = await validated(graph, blueprint={"name": "Team", "roles": roles}, constraints=constraints)
        assert "TOO_MANY_ROLES" not in codes(found["errors"])
    limited = await validated(graph, blueprint={"name": "Team", "roles": roles}, constraints={"maxRoles": 20})
    assert "TOO_MANY_ROLES" in codes(limited["errors"])


@pytest.mark.parametrize("part", ["roles", "tasks", "tools"])
async def test_a_proposal_with_too_many_parts_is_not_looked_at(graph: Graph, part: str) -> None:
    each = {
        "roles": {"title": "A", "modelParameters": 1},
        "tasks": {"name": "A", "description": "", "expectedOutput": "", "outputSchema": 1},
        "tools": {"name": "A", "kind": "CALCULATOR", "configuration": 1},
    }

    answer = await graph.answer(VALIDATE, blueprint={"name": "Team", part: [each[part]] * 101})

    assert [(it["message"], it["extensions"]["argument"]) for it in answer["errors"]] == [
        ("At most 100 entries.", ["blueprint", part])
    ]


async def test_one_operation_judges_only_so_much(graph: Graph) -> None:
    blueprint = {"name": "Team", "roles": [{"title": f"Role {number}"} for number in range(80)]}
    team_id = await graph.team()
    await graph.role(team_id)
    task_id = await graph.task(team_id)
    others = {
        "validateTeam(teamId: $id) { isValid }": team_id,
        "estimateExecution(teamId: $id) { reason }": team_id,
        "roleMatches(taskId: $id) { role }": task_id,
        'analyzeObjective(objective: "x") { domain } node(id: $id) { id }': task_id,
    }

    def times(count: int) -> str:
        return " ".join(f"v{number}: validateTeam(blueprint: $b) {{ isValid }}" for number in range(count))

    enough = await graph.answer("query($b: BlueprintInput) { " + times(10) + " }", b=blueprint)
    head = "query($b: BlueprintInput, $id: ID!) { " + times(10)
    too_much = [
        await graph.answer(f"{head} {one} }}", b=blueprint, id=identifier) for one, identifier in others.items()
    ]

    assert enough.get("errors") is None
    assert [[it["extensions"]["code"] for it in answer["errors"]] for answer in too_much] == [["TOO_LARGE"]] * 4


async def test_success_stands_on_the_teams_own_history_then_on_similar_teams(graph: Graph) -> None:
    team_id, role_id, task_id = await a_team(graph)
    other_id, _, _ = await a_team(graph)
    team, role, task = (parse_node_id(found)[1] for found in (team_id, role_id, task_id))
    await past_runs(graph.container.database.pool, team, 6, Did(role, task, model=MODEL))

    own = (await validated(graph, teamId=team_id))["success"]
    similar = (await validated(graph, teamId=other_id))["success"]

    assert (own["basis"], own["executions"]) == ("HISTORY", 6)
    assert (similar["basis"], similar["executions"]) == ("SIMILAR_TEAMS", 6)
    assert own["probability"] == similar["probability"] == {"low": 0.61, "high": 1.0}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, ["teamId"]),
        ({"teamId": "x", "blueprint": {"name": "Team"}}, ["teamId"]),
        ({"teamId": "x", "projectId": "y"}, ["projectId"]),
        ({"blueprint": {"name": "Team"}, "constraints": {"maxRoles": 0}}, ["constraints", "maxRoles"]),
        ({"blueprint": {"name": "Team", "description": None}}, ["blueprint", "description"]),
    ],
)
async def test_bad_arguments_of_a_validation_are_located(graph: Graph, given: Any, path: list[str]) -> None:
    answer = await graph.answer(VALIDATE, **given)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID"
    assert error["extensions"]["argument"] == path


# ---------------------------------------------------------------- estimates


async def test_an_estimate_changes_with_the_quality_that_is_asked_for(graph: Graph) -> None:
    await a_worker(graph, providers=["openai"])
    team_id = await graph.team()
    await graph.task(team_id, description="Plan it.", roleId=await graph.role(team_id, expertise="EXPERT"))

    cheap, best = [await estimated(graph, team_id, quality=wanted) for wanted in ("BALANCED", "PREMIUM")]

    assert [one["tasks"][0]["tier"] for one in (cheap, best)] == ["STANDARD", "PREMIUM"]
    assert Decimal(best["cost"]["high"]["amount"]) > Decimal(cheap["cost"]["high"]["amount"]) > 0


async def test_missing_inputs_are_named_and_no_error(graph: Graph) -> None:
    team_id, _, _ = await a_team(graph, description="Write about {topic} in {city}.")

    missing = await estimated(graph, team_id, inputs={"city": "Basel"})
    given = await estimated(graph, team_id, inputs={"city": "Basel", "topic": "bicycles"})

    assert "No input is given for “topic”" in missing["reason"]
    assert "No input" not in given["reason"]


async def test_without_a_provider_the_simulated_model_is_named_and_free(graph: Graph) -> None:
    team_id = await graph.ready_team()

    found = await estimated(graph, team_id)

    [task] = found["tasks"]
    assert task["model"] == "simulated/regatta"
    assert found["cost"] == {"low": {"amount": "0", "currency": "USD"}, "high": {"amount": "0"}}
    assert "simulated: it costs nothing" in task["reason"]


async def test_history_replaces_rules_of_thumb(graph: Graph) -> None:
    team_id, role_id, task_id = await a_team(graph)
    team, role, task = (parse_node_id(found)[1] for found in (team_id, role_id, task_id))
    did = Did(role, task, model=MODEL, seconds=12.0, cost="0.25", prompt_tokens=5_000, completion_tokens=700)
    await past_runs(graph.container.database.pool, team, 5, did)

    found = await estimated(graph, team_id)

    assert found["basis"] == "HISTORY"
    assert found["promptTokens"] == {"low": 5_000, "high": 5_000}
    assert found["completionTokens"] == {"low": 700, "high": 700}
    assert Decimal(found["cost"]["low"]["amount"]) == Decimal("0.25")
    assert found["seconds"] == {"low": 12.0, "high": 12.0}


async def test_history_follows_a_task_that_was_renamed(graph: Graph) -> None:
    team_id, role_id, task_id = await a_team(graph)
    team, role, task = (parse_node_id(found)[1] for found in (team_id, role_id, task_id))
    await past_runs(graph.container.database.pool, team, 5, Did(role, task, model=MODEL))
    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, name="Compose")

    found = await estimated(graph, team_id)

    assert [(it["name"], it["basis"]) for it in found["tasks"]] == [("Compose", "HISTORY")]


@pytest.mark.parametrize("inputs", [["a"], "text", 5])
async def test_inputs_have_to_be_an_object(graph: Graph, inputs: Any) -> None:
    answer = await graph.answer(ESTIMATES, teamId=unknown("Team"), inputs=inputs)

    assert answer["errors"][0]["extensions"]["argument"] == ["inputs"]


async def test_inputs_that_would_fill_a_book_are_refused(graph: Graph) -> None:
    answer = await graph.answer(ESTIMATES, teamId=unknown("Team"), inputs={"x": "y" * 70_000})

    assert "At most 64000 characters of JSON." in str(answer["errors"])


# ---------------------------------------------------------------- who asks, and what it costs


async def test_what_is_unknown_or_of_others_is_null(graph: Graph) -> None:
    strange = await strangers_things(graph)
    teams = [*MALFORMED, unknown("Team"), strange["Team"], strange["Task"]]

    for identifier in teams:
        assert (await graph.query(VALIDATE, teamId=identifier))["validateTeam"] is None
        assert (await graph.query(ESTIMATES, teamId=identifier))["estimateExecution"] is None
    for identifier in [*MALFORMED, unknown("Task"), strange["Task"], strange["Team"]]:
        assert (await graph.query(MATCHES, taskId=identifier))["roleMatches"] is None
    for identifier in [*MALFORMED, unknown("Project"), strange["Project"]]:
        found = await graph.query(VALIDATE, blueprint={"name": "Team"}, projectId=identifier)
        assert found["validateTeam"] is None


async def _statements(graph: Graph, query: str, **given: Any) -> int:
    with counted_statements(graph) as seen:
        histories: Any = graph.container.services.histories
        pool, histories.pool = histories.pool, graph.container.reader.pool
        try:
            await graph.query(query, **given)
        finally:
            histories.pool = pool
    return len(seen)


async def _grown(graph: Graph, team_id: str, count: int) -> None:
    project = (await graph.query("query($id: ID!) { team(id: $id) { project { id } } }", id=team_id))["team"]["project"]
    waits: dict[str, Any] = {}
    for number in range(count):
        tool = await graph.make("Tool", projectId=project["id"], name=f"Sums {number}", kind="CALCULATOR")
        role = await graph.role(team_id, title=f"Role {number}", toolIds=[tool["id"]], skills=[f"skill {number}"])
        waits = {"dependsOn": [await graph.task(team_id, roleId=role, **waits)]}


async def test_the_number_of_statements_does_not_grow_with_the_team(graph: Graph) -> None:
    team_id, _, task_id = await a_team(graph)
    queries = ((VALIDATE, {"teamId": team_id}), (ESTIMATES, {"teamId": team_id}), (MATCHES, {"taskId": task_id}))
    few = [await _statements(graph, query, **given) for query, given in queries]

    await _grown(graph, team_id, 8)

    assert [await _statements(graph, query, **given) for query, given in queries] == few
    # The team in six, the models in two, the past of similar teams in one. Its own past is read at one moment, on a
    # connection of its own, which is not counted here: at most five statements.
    assert few == [9, 8, 8]


# ---------------------------------------------------------------- objectives, skills, matches


async def test_an_objective_is_analysed_at_once_and_nothing_is_written(graph: Graph) -> None:
    objective = "Plan a marketing campaign for our new bicycle: a strategy, blog articles and a newsletter."

    async with nothing_written(graph):
        found = (await graph.query(ANALYZE, objective=objective))["analyzeObjective"]

    assert (found["complexity"], found["domain"]) == ("COMPLEX", "marketing")
    assert found["skills"][0]["skill"]["name"] == "campaign planning"
    assert found["factors"][-1].startswith(found["process"])
    scores = [match["match"]["score"] for match in found["skills"]]
    assert scores == sorted(scores, reverse=True)
    assert found["templates"]
    for match in (*found["skills"], *found["templates"]):
        points = sum(reason["points"] for reason in match["match"]["reasons"])
        assert match["match"]["score"] == pytest.approx(points, abs=1e-3)


@pytest.mark.parametrize("objective", ["", "  \n", "x" * 20_001, "a\x00b"])
async def test_bad_objectives_are_refused(graph: Graph, objective: str) -> None:
    answer = await graph.answer(ANALYZE, objective=objective)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID"
    assert error["extensions"]["argument"] == ["objective"]


async def test_bad_constraints_of_an_objective_are_refused(graph: Graph) -> None:
    answer = await graph.answer(ANALYZE, objective="Do it.", constraints={"maxRoles": 100})

    assert answer["errors"][0]["extensions"]["argument"] == ["constraints", "maxRoles"]


async def test_skills_are_found_by_words_and_domain(graph: Graph) -> None:
    everything = (await graph.query(SKILLS, first=100))["skills"]
    marketing = (await graph.query(SKILLS, domain="Marketing", first=100))["skills"]
    found = (await graph.query(SKILLS, search="EMAIL marketing"))["skills"]

    assert [skill["name"] for skill in everything] == [skill.name for skill in skills()][:100]
    assert 0 < len(marketing) < len(everything)
    assert all("marketing" in skill["domains"] or not skill["domains"] for skill in marketing)
    assert "email marketing" in [skill["name"] for skill in found]
    assert {skill["outcome"] is None for skill in everything} == {True}
    assert (await graph.query(SKILLS, search="no such thing as this"))["skills"] == []
    assert len((await graph.query(SKILLS, first=3))["skills"]) == 3


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_no_more_skills_are_listed_than_a_list_has(graph: Graph, first: int) -> None:
    answer = await graph.answer(SKILLS, first=first)

    assert answer["errors"][0]["extensions"]["argument"] == ["first"]


async def test_nobody_searches_for_a_book(graph: Graph) -> None:
    assert (await graph.query(SKILLS, search="x" * 200))["skills"] == []

    answer = await graph.answer(SKILLS, search="x" * 201)

    assert answer["errors"][0]["extensions"]["argument"] == ["search"]


async def test_outcomes_of_many_skills_are_one_statement(graph: Graph) -> None:
    assert await _statements(graph, SKILLS, first=50) == 1


async def test_the_active_roles_of_a_team_are_matched_to_a_task_best_first(graph: Graph) -> None:
    team_id, _, task_id = await a_team(graph, requiredSkills=["writing"])
    await graph.role(team_id, title="Gardener", skills=["pruning"])
    await graph.role(team_id, title="Away", skills=["writing"], isActive=False)

    async with nothing_written(graph):
        found = (await graph.query(MATCHES, taskId=task_id))["roleMatches"]

    assert [match["role"] for match in found] == ["Writer", "Gardener"]
    assert found[0]["match"]["reasons"][0] == {
        "text": "It has “writing”: 1 of 1 asked for.",
        "points": 0.4,
        "of": 0.4,
    }
    assert found[0]["match"]["score"] > found[1]["match"]["score"]


async def test_nobody_is_matched_to_an_archived_task(graph: Graph) -> None:
    _, _, task_id = await a_team(graph)
    await graph.mutate("archiveTask", "task { id }", id=task_id)

    assert (await graph.query(MATCHES, taskId=task_id))["roleMatches"] == []


async def test_what_was_added_while_a_team_was_read_is_left_out(graph: Graph) -> None:
    team_id, role_id, task_id = await a_team(graph)
    late = await graph.task(team_id, roleId=role_id)
    await graph.mutate("updateTask", "task { id }", id=task_id, version=1, dependsOn=[late])
    reader: Any = _Late(graph.container.reader, parse_node_id(late)[1])

    stored = await stored_team(reader, DEFAULT_TENANT, TeamId(parse_node_id(team_id)[1]))

    assert stored
    assert [(task.name, task.depends_on) for task in blueprint_of(stored.snapshot).tasks] == [("Write", [])]


class _Late:
    """A reader to whom one task is not there yet when the tasks are asked for."""

    def __init__(self, reader: Any, late: Any) -> None:
        self.reader = reader
        self.late = late

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    async def children(self, *asked: Any) -> Any:
        found = await self.reader.children(*asked)
        return {parent: [each for each in own if each.id != self.late] for parent, own in found.items()}


def test_the_example_operations_hold_the_schema() -> None:
    path = Path("app/static/graphiql/operations/assessment.graphql")

    assert validate(build_schema(SNAPSHOT.read_text("utf-8")), parse(path.read_text("utf-8"))) == []
