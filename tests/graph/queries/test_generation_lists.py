"""Lists of generations, their money, and how they went."""

from typing import Any

import pytest

from domain.model.analysis import ObjectiveAnalysis, TemplateMatch
from domain.model.documents import to_document
from domain.model.generation import ComposedBy, GenerationFailureCode, GenerationStatus
from domain.model.identity import new_id
from domain.model.routing import Complexity
from domain.model.skill import Match, Reason
from domain.model.span import Span
from domain.model.team import Process
from domain.model.validation import Finding, FindingCode, Severity, Validation
from persistence.engine import Database
from resolvers.node_ids import node_id
from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.generations import PlayedComposer, a_proposal, composers, generate, ready
from tests.support.graphql import Graph, counted_statements
from tests.support.things import strangers_things, unknown

LIST = """query($filter: GenerationFilter, $order: GenerationOrder, $first: Int! = 20, $after: String) { tenant {
    generations(filter: $filter, orderBy: $order, first: $first, after: $after) { totalCount nodes { id objective }
    pageInfo { hasNextPage endCursor } } } }"""
METRICS = """query($period: MomentFilter, $project: ID) { generationMetrics(period: $period, projectId: $project) {
    isComplete total { ...Figures } byModel { ...Figures } } }
    fragment Figures on GenerationMetrics { model count composed failed cancelled accepted rejected repairs fallbacks
    validFirstRate repairRate fallbackRate failureRate acceptanceRate meanCost { amount } meanRating }"""


async def listed(graph: Graph, **variables: Any) -> list[str]:
    found = (await graph.query(LIST, **variables))["tenant"]["generations"]
    assert found["totalCount"] == len(found["nodes"]) or "first" in variables
    return [node["objective"] for node in found["nodes"]]


async def some(graph: Graph, database: Database) -> dict[str, PlayedComposer]:
    """Three generations of two projects, with their workers, by objective."""
    project_id = await graph.project()
    for objective in ("one", "two"):
        await generate(graph, project_id, objective=objective)
    await generate(graph, objective="elsewhere")
    return {it.generation.objective: it for it in await composers(graph, database)}


async def test_generations_are_listed_the_newest_first_and_page_by_page(graph: Graph, database: Database) -> None:
    await some(graph, database)

    page = (await graph.query(LIST, first=2))["tenant"]["generations"]
    rest = (await graph.query(LIST, first=2, after=page["pageInfo"]["endCursor"]))["tenant"]["generations"]
    oldest = await listed(graph, order={"direction": "ASC"})

    assert [node["objective"] for node in page["nodes"]] == ["elsewhere", "two"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (3, True)
    assert [node["objective"] for node in rest["nodes"]] == ["one"]
    assert rest["pageInfo"]["hasNextPage"] is False
    assert oldest == ["one", "two", "elsewhere"]


async def test_they_are_found_by_status_by_who_composed_them_by_project_and_by_moment(
    graph: Graph, database: Database
) -> None:
    workers = await some(graph, database)
    await workers["one"].proposes(composed_by=ComposedBy.MODEL)
    await workers["two"].proposes()
    project_id = node_id("Project", workers["one"].generation.project_id)
    moment = workers["two"].generation.created_at.isoformat()

    assert await listed(graph, filter={"status": {"in": ["READY"]}}) == ["two", "one"]
    assert await listed(graph, filter={"composedBy": {"in": ["RULES"]}}) == ["two"]
    assert await listed(graph, filter={"projectId": project_id}) == ["two", "one"]
    assert await listed(graph, filter={"createdAt": {"gte": moment}}) == ["elsewhere", "two"]
    assert await listed(graph, filter={"status": {"in": ["PENDING"]}, "projectId": project_id}) == []
    query = "query($id: ID!) { project(id: $id) { generations { nodes { objective } } } }"
    found = (await graph.query(query, id=project_id))["project"]["generations"]["nodes"]
    assert [node["objective"] for node in found] == ["two", "one"]


async def test_a_batch_is_found_by_its_id_and_nothing_by_any_other(graph: Graph) -> None:
    await generate(graph, objective="alone")
    payload = await graph.mutate(
        "bulkGenerateTeams", "batchId", projectId=await graph.project(), objectives=["first", "second"]
    )

    assert await listed(graph, filter={"batchId": payload["batchId"]}) == ["second", "first"]
    assert await listed(graph, filter={"batchId": unknown("GenerationBatch")}) == []
    answer = await graph.answer(LIST, filter={"batchId": unknown("Team")})
    assert answer["errors"][0]["extensions"] == {"code": "NOT_FOUND", "argument": ["filter", "batchId"]}
    assert (await graph.query("query($id: ID!) { node(id: $id) { id } }", id=payload["batchId"])) == {"node": None}


async def test_nothing_of_another_tenant_is_listed_or_found(graph: Graph, database: Database) -> None:
    theirs = await ready(graph, database)
    payload = await graph.mutate("bulkGenerateTeams", "batchId", projectId=await graph.project(), objectives=["theirs"])
    await strangers_things(graph)
    await generate(graph, objective="mine")

    data = await graph.query(
        "query($id: ID!) { generation(id: $id) { id } node(id: $id) { id } nodes(ids: [$id]) { id } }", id=theirs
    )

    assert await listed(graph) == ["mine"]
    assert await listed(graph, filter={"batchId": payload["batchId"]}) == []
    assert data == {"generation": None, "node": None, "nodes": [None]}


async def test_a_page_of_generations_costs_as_many_statements_as_one(graph: Graph, database: Database) -> None:
    team_id = await graph.team(name="Press office")
    await graph.role(team_id, title="Writer")
    query = """query($first: Int!) { tenant { generations(first: $first) { nodes { objective project { name }
        team { name } acceptedTeam { name } diff { name } usage { calls } ledger { nodes { id } } proposal { name }
        constraints { maxRoles } } } } }"""
    seen: list[int] = []
    for _ in range(6):
        await generate(graph, teamId=team_id)
    for worker in await composers(graph, database):
        await worker.pays("0.5")
        await worker.proposes(a_proposal(description=str(worker.id)))

    for first in (1, 6):
        with counted_statements(graph) as statements:
            data = await graph.query(query, first=first)
        seen.append(len(statements))
        nodes = data["tenant"]["generations"]["nodes"]
        assert len(nodes) == first
        assert all(node["diff"] and node["usage"]["calls"] == 1 for node in nodes)

    assert seen[0] == seen[1] <= 8


async def test_both_executors_tell_the_same_of_a_generation(
    graph: Graph, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    identifier = await ready(graph, database, teamId=await graph.team())
    await ready(graph, database)
    query = """{ tenant { generations { nodes { id status diff { kind part name field before after }
        constraints { tools } proposal { name roles { title } } validation { isValid } usage { calls }
        timing { durationSeconds } batchId
        team { name } ledger { totalCount } } } } }"""
    quick = await graph.query(query)

    async def gives_up(*_: Any) -> Any:
        raise NotSimple

    monkeypatch.setattr(BreadthFirst, "run", gives_up)

    assert quick["tenant"]["generations"]["nodes"][1]["id"] == identifier
    assert quick["tenant"]["generations"]["nodes"][1]["diff"]
    assert await graph.query(query) == quick


async def test_what_was_analysed_and_found_is_told_as_it_was_kept(graph: Graph, database: Database) -> None:
    await generate(graph)
    [worker] = await composers(graph, database)
    template_id = new_id()
    analysis = ObjectiveAnalysis(
        Complexity.MEDIUM,
        ["A keyword."],
        "marketing",
        [],
        Span(2, 3),
        Process.PARALLEL,
        [TemplateMatch(template_id, "Campaign", Match(0.5, [Reason("Words.", 0.5, 1.0)]))],
    )
    finding = Finding(Severity.WARNING, FindingCode.ROLE_WITHOUT_TASK, "Nothing to do.", "Editor")
    await worker.proposes(
        analysis=to_document(ObjectiveAnalysis, analysis), validation=to_document(Validation, Validation([finding]))
    )

    data = await graph.query(
        """query($id: ID!) { generation(id: $id) { analysis { complexity factors domain skills { skill { name } }
        roles { low high } process templates { templateId name match { score reasons { text points of } } } }
        validation { isValid errors { code } warnings { code message subject } estimate { reason } } } }""",
        id=worker.id,
    )

    assert data["generation"] == {
        "analysis": {
            "complexity": "MEDIUM",
            "factors": ["A keyword."],
            "domain": "marketing",
            "skills": [],
            "roles": {"low": 2, "high": 3},
            "process": "PARALLEL",
            "templates": [
                {
                    "templateId": node_id("Template", template_id),
                    "name": "Campaign",
                    "match": {"score": 0.5, "reasons": [{"text": "Words.", "points": 0.5, "of": 1.0}]},
                }
            ],
        },
        "validation": {
            "isValid": True,
            "errors": [],
            "warnings": [{"code": "ROLE_WITHOUT_TASK", "message": "Nothing to do.", "subject": "Editor"}],
            "estimate": None,
        },
    }


async def test_what_a_generation_cost_is_the_sum_over_its_calls(graph: Graph, database: Database) -> None:
    workers = await some(graph, database)
    await workers["one"].pays("0.25", tokens=10)
    await workers["one"].pays("0.000000000001", tokens=20)
    query = """query($id: ID!) { generation(id: $id) { usage { calls promptTokens cost { amount } }
        ledger { totalCount nodes { model execution { id } taskExecution { id } role { id } cost { amount }
        generation { id } } } } }"""

    paid = (await graph.query(query, id=workers["one"].id))["generation"]
    free = (await graph.query(query, id=workers["two"].id))["generation"]

    assert paid["usage"] == {"calls": 2, "promptTokens": 30, "cost": {"amount": "0.250000000001"}}
    nobody = {"execution": None, "taskExecution": None, "role": None}
    entry = {"model": "openai/gpt-4o-mini", "generation": {"id": workers["one"].id}, **nobody}
    assert paid["ledger"] == {
        "totalCount": 2,
        "nodes": [{**entry, "cost": {"amount": "0.000000000001"}}, {**entry, "cost": {"amount": "0.25"}}],
    }
    assert free == {
        "usage": {"calls": 0, "promptTokens": 0, "cost": {"amount": "0"}},
        "ledger": {"totalCount": 0, "nodes": []},
    }


# ---------------------------------------------------------------- metrics


FIGURES = {
    **dict.fromkeys(("count", "composed", "failed", "cancelled", "accepted", "rejected", "repairs", "fallbacks"), 0),
    **dict.fromkeys(("validFirstRate", "repairRate", "fallbackRate", "failureRate", "acceptanceRate"), None),
    "model": None,
    "meanCost": None,
    "meanRating": None,
}


async def test_without_generations_the_figures_say_nothing(graph: Graph) -> None:
    assert (await graph.query(METRICS))["generationMetrics"] == {"isComplete": True, "total": FIGURES, "byModel": []}


async def test_figures_are_told_for_all_and_by_model(graph: Graph, database: Database) -> None:
    project_id = await graph.project()
    for number in range(7):
        await generate(graph, project_id, objective=str(number))
    first, repaired, fallen, failed, unasked, cancelled, _ = await composers(graph, database)
    mini: dict[str, Any] = {"model": "openai/gpt-4o-mini"}
    big: dict[str, Any] = {"model": "openai/gpt-4o"}
    await first.pays("0.4")
    await first.proposes(composed_by=ComposedBy.MODEL, is_first_valid=True, **mini)
    await repaired.pays("0.2")
    await repaired.proposes(composed_by=ComposedBy.MODEL_REPAIRED, is_first_valid=False, repairs=1, **mini)
    await fallen.proposes(is_first_valid=False, repairs=1, fallback_reason="Prose.", **mini)
    await failed.fails(GenerationFailureCode.ANSWER_INVALID, "Prose.", is_first_valid=False, repairs=1, **big)
    await unasked.proposes(fallback_reason="No model.")
    assert await cancelled.write(GenerationStatus.ANALYSING)
    await graph.mutate("cancelGeneration", "generation { id }", generationId=cancelled.id)
    await graph.mutate("acceptGeneration", "team { id }", generationId=first.id)
    await graph.mutate("rejectGeneration", "generation { id }", generationId=fallen.id)
    await graph.mutate("rateGeneration", "generation { id }", generationId=first.id, rating=4)

    report = (await graph.query(METRICS))["generationMetrics"]

    assert report["isComplete"] is True
    assert report["total"] == {
        **FIGURES,
        "count": 7,
        "composed": 4,
        "failed": 1,
        "cancelled": 1,
        "accepted": 1,
        "rejected": 1,
        "repairs": 3,
        "fallbacks": 2,
        "validFirstRate": 0.25,
        "repairRate": 0.75,
        "fallbackRate": 0.5,
        "failureRate": 0.2,
        "acceptanceRate": 0.5,
        "meanCost": {"amount": "0.1"},  # of six: one is worked on still
        "meanRating": 4.0,
    }
    by_model = {figures["model"]: figures for figures in report["byModel"]}
    assert [(figures["model"], figures["count"]) for figures in report["byModel"]] == [
        ("openai/gpt-4o-mini", 3),
        (None, 3),
        ("openai/gpt-4o", 1),
    ]
    assert by_model["openai/gpt-4o-mini"]["validFirstRate"] == 1 / 3
    assert by_model["openai/gpt-4o-mini"]["meanCost"] == {"amount": "0.2"}
    assert by_model["openai/gpt-4o"] == {
        **FIGURES,
        "model": "openai/gpt-4o",
        "count": 1,
        "failed": 1,
        "repairs": 1,
        "validFirstRate": 0.0,
        "repairRate": 1.0,
        "failureRate": 1.0,
        "meanCost": {"amount": "0"},
    }


async def test_figures_are_of_a_period_and_of_a_project(graph: Graph, database: Database) -> None:
    workers = await some(graph, database)
    project_id = node_id("Project", workers["one"].generation.project_id)
    moment = workers["two"].generation.created_at.isoformat()

    async def count(**variables: Any) -> int | None:
        report = (await graph.query(METRICS, **variables))["generationMetrics"]
        return report and int(report["total"]["count"])

    assert await count() == 3
    assert await count(project=project_id) == 2
    assert await count(period={"gte": moment}) == 2
    assert await count(period={"lt": moment}) == 1
    assert await count(project=project_id, period={"gte": moment}) == 1
    assert await count(project=await graph.project()) == 0
    for identifier in (unknown("Project"), unknown("Team"), "nonsense"):
        assert await count(project=identifier) is None


async def test_figures_are_of_this_tenant_alone(graph: Graph) -> None:
    await generate(graph)
    await strangers_things(graph)

    assert (await graph.query(METRICS))["generationMetrics"]["total"]["count"] == 0
