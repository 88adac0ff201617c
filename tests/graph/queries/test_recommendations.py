"""Recommendations in the graph: from real rows, each carried out as it stands, and nobody else's."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain.errors import FailureCode
from domain.model.execution import TaskExecutionStatus
from domain.model.identity import DEFAULT_TENANT, new_id, utc_now
from domain.model.recommendation import Recommendation, RecommendationKind
from domain.services import recommendations as recommending
from persistence import recommendation_reader
from persistence.recommendation_reader import SqlRecommendationQuestions
from resolvers.node_ids import parse_node_id
from tests.support.catalogue import a_worker
from tests.support.graphql import Graph
from tests.support.histories import Did, a_past_run, past_runs
from tests.support.things import MALFORMED, nothing_written, strangers_things, unknown

REPORT = """{ message teams executions since items {
    kind impact title explanation executions saving { amount } evidence { text value }
    expectedEffects { metric low high } team { id } action { mutation arguments needs text }
    subject { __typename id } } }"""
ASK = f"""query($scope: RecommendationScopeInput, $first: Int! = 20, $kinds: [RecommendationKind!]) {{
    recommendations(scope: $scope, first: $first, kinds: $kinds) {REPORT} }}"""
DEAR, CHEAP = "openai/gpt-4.1", "openai/gpt-4.1-mini"


def raw(global_id: str) -> UUID:
    return parse_node_id(global_id)[1]


async def asked(graph: Graph, scope: dict[str, str] | None = None, **given: Any) -> Any:
    async with nothing_written(graph):
        return (await graph.query(ASK, scope=scope, **given))["recommendations"]


async def found(graph: Graph, kind: str, scope: dict[str, str] | None = None) -> dict[str, Any]:
    """The one recommendation of this kind."""
    [item] = (await asked(graph, scope, kinds=[kind]))["items"]
    result: dict[str, Any] = item
    return result


async def carried_out(graph: Graph, action: dict[str, Any], selection: str, **added: Any) -> dict[str, Any]:
    """The payload of the mutation that is recommended, with its arguments as they stand and what it needs."""
    payload = await graph.mutate(action["mutation"], selection, **action["arguments"], **added)
    assert payload["errors"] == []
    return payload


async def a_team(graph: Graph, *tasks: str, project_id: str | None = None, **role: Any) -> tuple[str, str, list[str]]:
    """A team with one role that does tasks of these names: the ids of team, role and tasks."""
    team_id = await graph.team(project_id)
    role_id = await graph.role(team_id, **role)
    return team_id, role_id, [await graph.task(team_id, name=name, roleId=role_id) for name in tasks or ("Write",)]


async def models(graph: Graph) -> None:
    """Two models that can be had, one of them dear."""
    await a_worker(graph, ["openai"])
    for name, tier, price in ((DEAR, "PREMIUM", "20"), (CHEAP, "STANDARD", "2")):
        await graph.make("Model", name=name, tier=tier, promptPrice=price, completionPrice=price, routingOrder=0)


async def ran(graph: Graph, team_id: str, count: int, *did: Did, **values: Any) -> None:
    """So many executions that are over, of a team that nobody edited since they were kicked off."""
    await made_long_ago(graph)
    await past_runs(graph.container.database.pool, raw(team_id), count, *did, **values)


async def made_long_ago(graph: Graph) -> None:
    for table in ("team", "role", "task", "tool"):
        await graph.container.database.pool.execute(
            f"UPDATE {table} SET updated_at = created_at - interval '30 days'"  # noqa: S608 - constants
        )


async def a_dear_team(graph: Graph, runs: int = 6, **team: Any) -> tuple[str, str]:
    """A team whose one role pins a dear model and does well: the ids of team and role."""
    team_id, role_id, [task_id] = await a_team(graph, model=DEAR, **team)
    await ran(graph, team_id, runs, Did(raw(role_id), raw(task_id), model=DEAR))
    return team_id, role_id


# ---------------------------------------------------------------- what there is to read


async def test_a_recommendation_has_its_evidence_what_is_expected_and_what_does_it(graph: Graph) -> None:
    await models(graph)
    team_id, role_id = await a_dear_team(graph)

    report = await asked(graph, {"teamId": team_id})

    assert (report["message"], report["teams"], report["executions"]) == (None, 1, 6)
    [item] = report["items"]
    assert item.pop("explanation").startswith("By their complexity and preference, they ask for the tier LOCAL.")
    assert item == {
        "kind": "ROLE_DEAR_FOR_TIER",
        "impact": "HIGH",
        "title": "“Analyst” is dear for what its tasks ask for",
        "executions": 6,
        "saving": {"amount": "0.405"},
        "evidence": [
            {"text": "“Analyst”: 6 of 6 tasks were completed.", "value": 1.0},
            {"text": f"With {DEAR}, 6 of 6 tasks were completed, for $0.1000 each.", "value": 0.1},
            {"text": f"With {CHEAP}, what is read and written would cost 10% of what it does.", "value": 0.1},
            {"text": "The tasks of “Analyst” ask for the tier LOCAL.", "value": None},
        ],
        "expectedEffects": [{"metric": "COST", "low": -0.9, "high": -0.45}],
        "team": {"id": team_id},
        "action": {
            "mutation": "updateRole",
            "arguments": {"id": role_id, "version": 1, "model": CHEAP},
            "needs": [],
            "text": f"Let “Analyst” use {CHEAP}.",
        },
        "subject": {"__typename": "Role", "id": role_id},
    }


async def test_a_team_has_the_same_and_only_as_many_and_of_the_kinds_as_wanted(graph: Graph) -> None:
    await models(graph)
    team_id, _ = await a_dear_team(graph)
    query = f"""query($id: ID!) {{ team(id: $id) {{ all: recommendations {REPORT}
        other: recommendations(kinds: [BOTTLENECK]) {{ message items {{ kind }} }} }} }}"""

    team = (await graph.query(query, id=team_id))["team"]

    assert team["all"]["items"] == (await asked(graph, {"teamId": team_id}))["items"]
    assert team["other"] == {"message": "What was found is of other kinds.", "items": []}


async def test_a_tenant_and_a_project_have_those_of_their_teams_the_dearest_first(graph: Graph) -> None:
    await models(graph)
    project_id = await graph.project()
    small, _ = await a_dear_team(graph, project_id=project_id)
    large, _ = await a_dear_team(graph, 9)

    of_tenant, of_project = await asked(graph), await asked(graph, {"projectId": project_id})

    assert [item["team"]["id"] for item in of_tenant["items"]] == [large, small]
    assert [item["team"]["id"] for item in of_project["items"]] == [small]
    assert [(each["teams"], each["executions"]) for each in (of_tenant, of_project)] == [(2, 15), (1, 6)]
    assert len((await asked(graph, first=1))["items"]) == 1


async def test_kinds_are_looked_for_among_all_that_was_found(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    dear, slow = (
        Recommendation(kind, kind.value, "", [], [], 5)
        for kind in (RecommendationKind.ROLE_DEAR_FOR_TIER, RecommendationKind.BOTTLENECK)
    )
    monkeypatch.setattr(recommending, "recommend", lambda *_: [dear] * 60 + [slow])

    of_kind, of_all = await asked(graph, kinds=["BOTTLENECK"]), await asked(graph, first=50)

    assert (kinds(of_kind), of_kind["message"]) == (["BOTTLENECK"], None)
    assert len(of_all["items"]) == 50


@pytest.mark.parametrize("runs", [0, 4])
async def test_with_too_little_to_go_by_it_says_so(graph: Graph, runs: int) -> None:
    await models(graph)
    team_id, _ = await a_dear_team(graph, runs)

    report = await asked(graph, {"teamId": team_id})

    assert (report["items"], report["executions"]) == ([], runs)
    assert report["message"] == (
        "There is too little to go by: 5 whole executions of a team have to be completed or failed within 30 days."
        f" Looked at: {runs}, of 1 team."
    )


async def test_what_ran_longer_ago_or_not_as_a_whole_does_not_count(graph: Graph) -> None:
    await models(graph)
    team_id, role_id = await a_dear_team(graph, 4)
    pool, did = graph.container.database.pool, Did(raw(role_id), model=DEAR)
    await a_past_run(pool, raw(team_id), did, ended_at=utc_now() - timedelta(days=31))
    first = await a_past_run(pool, raw(team_id), did, status="CANCELLED")
    for column in ("retry_of", "forked_from", "cached_from"):
        values: Any = {column: first}
        await a_past_run(pool, raw(team_id), did, **values)

    assert (await asked(graph, {"teamId": team_id}))["executions"] == 4


# ---------------------------------------------------------------- each is carried out as it stands


async def test_a_dear_role_gets_the_cheaper_model(graph: Graph) -> None:
    await models(graph)
    team_id, _ = await a_dear_team(graph)
    action = (await found(graph, "ROLE_DEAR_FOR_TIER"))["action"]

    payload = await carried_out(graph, action, "role { model }")

    assert payload["role"] == {"model": CHEAP}
    assert (await asked(graph, {"teamId": team_id}))["items"] == []


async def test_a_task_whose_guardrail_keeps_failing_gets_a_better_model(graph: Graph) -> None:
    await models(graph)
    team_id = await graph.team()
    role_id = await graph.role(team_id, model=CHEAP)
    task_id = await graph.task(team_id, roleId=role_id, guardrail="It is good.")
    did = Did(raw(role_id), raw(task_id), model=CHEAP, guardrail_failures=1)
    await ran(graph, team_id, 6, did)

    item = await found(graph, "GUARDRAIL_KEEPS_FAILING")

    assert item["subject"] == {"__typename": "Task", "id": task_id}
    assert item["evidence"][0] == {"text": "6 outputs were refused, 50% of those looked at.", "value": 0.5}
    payload = await carried_out(graph, item["action"], "role { model }")
    assert payload["role"] == {"model": DEAR}
    assert (await asked(graph, {"teamId": team_id}))["items"] == []  # what was before the change says nothing


async def test_a_bottleneck_of_a_chain_whose_texts_are_apart_is_optimized(graph: Graph) -> None:
    await models(graph)
    team_id = await graph.team()
    did = []
    for name, seconds in (("Market", 60), ("Rivals", 15), ("Report", 15)):
        role_id = await graph.role(team_id, title=f"For {name}", model=CHEAP)
        task_id = await graph.task(team_id, name=name, roleId=role_id, description="Collect facts.")
        waited = 300.0 if name == "Report" else 0.0  # for a person: that is not the task's time
        did.append(Did(raw(role_id), raw(task_id), model=CHEAP, seconds=seconds, asked_seconds=waited))
    await ran(graph, team_id, 6, *did)

    item = await found(graph, "BOTTLENECK")

    # The report still waits for the others, so that 75 of 90 seconds are left: what is offered saves no more.
    assert [each["value"] for each in item["evidence"]] == [60, 3, 30, 90, 75]
    assert [(each["metric"], each["low"]) for each in item["expectedEffects"]] == [("SECONDS", -0.1667)]
    payload = await carried_out(graph, item["action"], "optimizations { kind }")
    assert payload["optimizations"] == [{"kind": "PARALLEL_BRANCHES"}]


async def test_a_bottleneck_that_is_routed_becomes_fast(graph: Graph) -> None:
    await models(graph)
    await a_worker(graph, ["ollama"])
    await graph.make(
        "Model", name="openai/gpt-4.1-nano", tier="LOCAL", promptPrice="1", completionPrice="1", routingOrder=0
    )
    team_id = await graph.team(process="PARALLEL")
    role_id = await graph.role(team_id, expertise="SENIOR")
    texts = {"Short": "Do it.", "Other": "Do it.", "Long": "Analyze it."}
    tasks = [await graph.task(team_id, name=name, roleId=role_id, description=text) for name, text in texts.items()]
    seconds = (10, 10, 60)
    did = [Did(raw(role_id), raw(task), model=CHEAP, seconds=each) for task, each in zip(tasks, seconds, strict=True)]
    await ran(graph, team_id, 6, *did)

    item = await found(graph, "BOTTLENECK")

    assert item["subject"]["id"] == tasks[2]
    payload = await carried_out(graph, item["action"], "task { qualityPreference }")
    assert payload["task"] == {"qualityPreference": "FAST"}


async def test_a_tool_that_is_not_used_is_taken_away(graph: Graph) -> None:
    await models(graph)
    project_id = await graph.project()
    tools = [
        (await graph.make("Tool", projectId=project_id, name=name, kind=kind))["id"]
        for name, kind in (("My Sums", "CALCULATOR"), ("Web", "HTTP_GET"))
    ]
    team_id, role_id, [task_id] = await a_team(graph, project_id=project_id, model=CHEAP, toolIds=tools)
    await ran(graph, team_id, 10, Did(raw(role_id), raw(task_id), model=CHEAP))
    await called(graph, team_id, role_id, "my_sums")

    item = await found(graph, "UNUSED_TOOL")

    assert item["subject"] == {"__typename": "Tool", "id": tools[1]}
    assert item["executions"] == 10
    payload = await carried_out(graph, item["action"], "role { tools { id } }")
    assert payload["role"] == {"tools": [{"id": tools[0]}]}
    assert (await asked(graph, {"teamId": team_id}))["items"] == []


async def called(graph: Graph, team_id: str, role_id: str, tool: str) -> None:
    """The role called the tool in one execution of the team."""
    await graph.container.database.pool.execute(
        "INSERT INTO execution_event (tenant_id, execution_id, sequence, occurred_at, type, role_id, payload)"
        " SELECT tenant_id, id, 1000, finished_at, 'ToolCalled', $2, $3 FROM execution WHERE team_id = $1 LIMIT 1",
        raw(team_id),
        raw(role_id),
        {"tool": tool, "arguments": "{}"},
    )


async def test_a_prompt_that_grows_is_told_without_a_mutation(graph: Graph) -> None:
    await models(graph)
    team_id, role_id, [task_id] = await a_team(graph, model=CHEAP)
    await made_long_ago(graph)
    did = Did(raw(role_id), raw(task_id), model=CHEAP, completion_tokens=0)
    for number in range(15):
        ended = utc_now() - timedelta(hours=15 - number)
        grown = replace(did, prompt_tokens=1000 + 100 * number)
        await a_past_run(graph.container.database.pool, raw(team_id), grown, ended_at=ended)

    item = await found(graph, "GROWING_PROMPT")

    assert [each["value"] for each in item["evidence"]] == [1200, 2200, 1.0, 1.0]
    assert item["action"] is None
    assert [each["low"] for each in item["expectedEffects"]] == [round(1200 / 2200 - 1, 4)]


async def test_a_template_that_does_better_is_instantiated_with_what_it_needs(graph: Graph) -> None:
    await models(graph)
    made, template_id = await a_team_of_a_template(graph, await graph.project())
    done = Did(raw(made[1]), model=CHEAP)
    failed = Did(raw(made[1]), model=CHEAP, status=TaskExecutionStatus.FAILED, failure=FailureCode.MODEL_UNAVAILABLE)
    await ran(graph, made[0], 10, done, ended_at=utc_now() + timedelta(hours=12))
    await ran(graph, made[0], 10, failed, ended_at=utc_now() + timedelta(hours=12))  # none of the work: that counts not
    team_id, role_id, _ = await a_team(graph, model=CHEAP, skills=["Writing"])
    await ran(graph, team_id, 6, badly_done(role_id))

    item = await found(graph, "TEMPLATE_DOES_BETTER", {"teamId": team_id})

    assert item["subject"] == {"__typename": "Template", "id": template_id}
    assert item["action"]["needs"] == ["parameters.product"]
    assert item["executions"] == 16
    values = {"parameters": {"product": "Tea"}}
    payload = await carried_out(graph, item["action"], "team { name origin { template { id } } }", **values)
    assert payload["team"]["origin"] == {"template": {"id": template_id}}
    assert (await asked(graph, {"teamId": made[0]}))["items"] == []  # a team is not compared with its own template
    assert (await asked(graph, {"teamId": team_id}))["items"] == []  # there is one to compare it with now


def badly_done(role_id: str) -> Did:
    """A task that failed of the work itself."""
    failed = TaskExecutionStatus.FAILED
    return Did(raw(role_id), model=CHEAP, status=failed, failure=FailureCode.OUTPUT_INVALID)


async def test_a_team_of_two_templates_is_of_the_same_one_everywhere(graph: Graph) -> None:
    """Of a generation that used two, the first: its origin, its metrics and what it is compared with agree."""
    await models(graph)
    project_id, role = await graph.project(), {"title": "Writer", "skills": ["writing"]}
    task = {"name": "Write", "description": "About tea.", "expectedOutput": "A text.", "role": "Writer"}
    templates = [
        (await graph.make("Template", name=name, blueprint={"name": name, "roles": [role], "tasks": [task]}))["id"]
        for name in ("First", "Last")
    ]
    generation = (await graph.mutate("generateTeam", "generation { id }", projectId=project_id, objective="Write"))[
        "generation"
    ]["id"]
    team_id, role_id, _ = await a_team(graph, project_id=project_id, model=CHEAP, skills=["Writing"])
    begun = utc_now() - timedelta(hours=20)
    for number, template_id in enumerate(templates):
        await graph.container.database.pool.execute(
            "INSERT INTO template_use (tenant_id, id, template_id, team_id, number, generation_id, created_at)"
            " VALUES ($1, $2, $3, $4, 1, $5, $6)",
            *(DEFAULT_TENANT, new_id(), raw(template_id), raw(team_id), raw(generation)),
            begun + timedelta(microseconds=number),
        )
    await ran(graph, team_id, 10, badly_done(role_id), ended_at=begun - timedelta(hours=1))  # as another team
    await ran(graph, team_id, 10, Did(raw(role_id), model=CHEAP))

    team = await graph.query("query($id: ID!) { team(id: $id) { origin { template { id } } } }", id=team_id)
    ended = [
        (await graph.query(ENDED, scope={"templateId": each}))["metrics"]["overview"]["executions"]["ended"]
        for each in templates
    ]
    records = await SqlRecommendationQuestions(graph.container.database.pool).template_records(
        DEFAULT_TENANT, utc_now() - timedelta(days=30)
    )

    assert team["team"]["origin"]["template"]["id"] == templates[0]
    assert ended == [20, 0]
    assert [(each.template.id, each.completed) for each in records] == [(raw(templates[0]), 10)]
    assert kinds(await asked(graph, {"teamId": team_id})) == []  # it is not compared with itself


ENDED = "query($scope: MetricsScopeInput) { metrics(scope: $scope) { overview { executions { ended } } } }"


async def a_team_of_a_template(graph: Graph, project_id: str) -> tuple[tuple[str, str], str]:
    """A team made of a template with a parameter: the ids of the team and its role, and that of the template."""
    role = {"title": "Writer", "skills": ["writing"]}
    task = {"name": "Write", "description": "About {{product}}.", "expectedOutput": "A text.", "role": "Writer"}
    blueprint = {"name": "Texts", "roles": [role], "tasks": [task]}
    parameters = [{"name": "product"}]
    template = await graph.make("Template", name="Texts", parameters=parameters, blueprint=blueprint)
    values = {"templateId": template["id"], "projectId": project_id, "parameters": {"product": "Tea"}}
    payload = await graph.mutate("instantiateTemplate", "team { id roles { id } }", **values)
    assert payload["errors"] == []
    return (payload["team"]["id"], payload["team"]["roles"][0]["id"]), template["id"]


async def test_too_few_places_on_workers_are_told_to_the_tenant_alone(graph: Graph) -> None:
    team_id, role_id, _ = await a_team(graph)
    pool = graph.container.database.pool
    await pool.execute("INSERT INTO worker (id, heartbeat_at, places) VALUES ('w1', now() + interval '1 hour', 1)")
    end = utc_now() - timedelta(hours=1)
    for number in range(20):
        values: Any = {"ended_at": end - timedelta(minutes=5 * number), "seconds": 300}
        begun = values["ended_at"] - timedelta(seconds=300)
        await a_past_run(pool, raw(team_id), Did(raw(role_id)), created_at=begun - timedelta(seconds=100), **values)

    item = await found(graph, "WORKER_POOL_TOO_SMALL")

    assert item["title"] == "Have 2 places instead of 1"
    assert (item["team"], item["subject"], item["action"]) == (None, None, None)
    assert item["expectedEffects"] == [{"metric": "SECONDS", "low": -0.25, "high": -0.125}]
    assert (await asked(graph, {"teamId": team_id}, kinds=["WORKER_POOL_TOO_SMALL"]))["items"] == []


async def test_places_that_others_used_are_not_too_many(graph: Graph) -> None:
    pool = graph.container.database.pool
    await pool.execute("INSERT INTO worker (id, heartbeat_at, places) VALUES ('w1', now() + interval '1 hour', 8)")
    team_id, role_id, _ = await a_team(graph)
    await ran(graph, team_id, 20, Did(raw(role_id)))
    alone = kinds(await asked(graph, kinds=["WORKER_POOL_TOO_LARGE"]))
    await strangers_things(graph)  # whose executions these are from now on
    await pool.execute("DELETE FROM admission")  # nobody is there now
    own, role_id, _ = await a_team(graph)
    await ran(graph, own, 20, Did(raw(role_id)))

    assert (alone, kinds(await asked(graph, kinds=["WORKER_POOL_TOO_LARGE"]))) == (["WORKER_POOL_TOO_LARGE"], [])


async def test_archived_teams_take_no_place_among_the_dearest(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommending, "MOST_TEAMS", 1)
    await models(graph)
    gone, _ = await a_dear_team(graph, 9)
    team_id, _ = await a_dear_team(graph, 6)
    await graph.mutate("archiveTeam", "team { id }", id=gone)

    assert [item["team"]["id"] for item in (await asked(graph))["items"]] == [team_id]


# ---------------------------------------------------------------- how much is read


async def test_of_too_many_tasks_the_oldest_executions_are_left_out_whole(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendation_reader, "MOST_TASKS_IN_ALL", 13)
    team_id, role_id, [task_id] = await a_team(graph)
    await ran(graph, team_id, 8, *[Did(raw(role_id), raw(task_id))] * 2)  # while it had two tasks

    assert (await asked(graph, {"teamId": team_id}))["executions"] == 6


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is fetched, on whatever connection."""
    seen: list[str] = []
    plain = asyncpg.Connection.fetch

    async def fetch(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        seen.append(query)
        return await plain(self, query, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
    return seen


async def test_ten_teams_take_as_many_statements_as_one(graph: Graph, statements: list[str]) -> None:
    await models(graph)
    project_id, counts = await graph.project(), []
    each = f"query($id: ID!) {{ project(id: $id) {{ teams {{ nodes {{ recommendations {REPORT} }} }} }} }}"
    for teams in (1, 9):
        for _ in range(teams):
            await a_dear_team(graph, 5, project_id=project_id)
        for query, variables in ((ASK, {}), (ASK, {"scope": {"projectId": project_id}}), (each, {"id": project_id})):
            statements.clear()
            await graph.query(query, **variables)
            counts.append(len(statements))

    assert counts[:3] == counts[3:]
    assert max(counts) <= 30


async def test_an_operation_that_asks_too_often_is_too_large(graph: Graph) -> None:
    aliases = " ".join(f"a{number}: recommendations(first: {number}) {{ teams }}" for number in range(1, 51))

    answer = await graph.answer(f"{{ {aliases} }}")

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["TOO_LARGE"]


async def test_what_takes_too_long_is_given_up(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommending, "DEADLINE_SECONDS", 0.0)

    answer = await graph.answer(ASK)

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["UNAVAILABLE"]
    assert answer["errors"][0]["message"].startswith("Recommendations took too long")


# ---------------------------------------------------------------- what is nobody's, or somebody else's


async def test_what_is_unknown_is_null(graph: Graph) -> None:
    for identifier in (*MALFORMED, unknown("Team"), unknown("Project")):
        assert await asked(graph, {"teamId": identifier}) is None
        assert await asked(graph, {"projectId": identifier}) is None


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"scope": {"teamId": unknown("Team"), "projectId": unknown("Project")}}, "scope.projectId"),
        ({"first": 0}, "first"),
        ({"first": 51}, "first"),
    ],
)
async def test_bad_arguments_are_refused(graph: Graph, variables: dict[str, Any], path: str) -> None:
    answer = await graph.answer(ASK, **variables)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID"
    assert path.rpartition(".")[2] in str(error)


async def test_what_others_did_never_counts(graph: Graph) -> None:
    await models(graph)
    made, _ = await a_team_of_a_template(graph, await graph.project())
    await ran(graph, made[0], 10, Did(raw(made[1]), model=CHEAP), ended_at=utc_now() + timedelta(hours=12))
    team_id, _ = await a_dear_team(graph)
    await strangers_things(graph)

    assert await asked(graph, {"teamId": team_id}) is None
    report = await asked(graph)
    assert (report["items"], report["teams"], report["executions"]) == ([], 0, 0)
    own, role_id, _ = await a_team(graph, skills=["writing"])
    await ran(graph, own, 6, badly_done(role_id))
    assert kinds(await asked(graph)) == []


def kinds(report: Any) -> Sequence[str]:
    return [item["kind"] for item in report["items"]]
