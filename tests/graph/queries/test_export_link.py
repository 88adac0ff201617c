"""The link to an export: where the file is to be had, and that the filter stands in it."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from domain.model.identity import utc_now
from tests.support.graphql import Graph
from tests.support.things import unknown

LINK = """query($format: ExportFormat!, $filter: ExecutionFilter) {
    exportExecutions(format: $format, filter: $filter) { url mediaType fileName } }"""


async def _link(graph: Graph, form: str = "CSV", **wanted: Any) -> dict[str, str]:
    link: dict[str, str] = (await graph.query(LINK, format=form, filter=wanted or None))["exportExecutions"]
    return link


async def test_a_link_says_where_the_file_is_and_what_it_will_be(graph: Graph) -> None:
    today = f"{utc_now():%Y-%m-%d}"

    csv, lines = await _link(graph), await _link(graph, "JSON_LINES")

    assert csv["url"] == "/exports/executions?format=CSV"
    assert (csv["mediaType"], lines["mediaType"]) == ("text/csv; charset=utf-8", "application/x-ndjson")
    assert csv["fileName"] >= f"executions-{today}.csv"  # unless it is midnight
    assert lines["fileName"].endswith(".jsonl")


async def test_the_filter_stands_in_the_link_in_words(graph: Graph) -> None:
    team_id, project_id = unknown("Team"), unknown("Project")

    link = await _link(
        graph,
        projectId=project_id,
        teamId=team_id,
        status={"in": ["FAILED", "CANCELLED"]},
        createdAt={"gte": "2026-01-31T14:00:00+02:00", "lt": "2026-02-01T00:00:00"},
    )

    assert dict(parse_qsl(urlsplit(link["url"]).query)) == {
        "format": "CSV",
        "projectId": project_id,
        "teamId": team_id,
        "status": "FAILED,CANCELLED",
        "createdAt.gte": "2026-01-31T12:00:00Z",
        "createdAt.lt": "2026-02-01T00:00:00Z",
    }


async def test_the_file_behind_the_link_has_what_the_connection_has_with_that_filter(graph: Graph) -> None:
    teams = [await graph.ready_team(), await graph.ready_team()]
    ids = [await graph.kickoff(team_id) for team_id in (*teams, *teams)]
    await graph.mutate("cancelExecution", "execution { id }", executionId=ids[2])
    connection = """query($filter: ExecutionFilter) { tenant { executions(filter: $filter, orderBy: {direction: ASC}) {
        nodes { id } } } }"""

    filters: list[dict[str, Any]] = [
        {},
        {"teamId": teams[0]},
        {"teamId": teams[0], "status": {"in": ["QUEUED"]}},
        {"status": {"in": []}},
        {"startedAt": {"lt": "2100-01-01T00:00:00Z"}},
    ]
    for wanted in filters:
        answer = await graph.query(connection, filter=wanted)
        file = await graph.http.get((await _link(graph, "JSON_LINES", **wanted))["url"])
        nodes = [node["id"] for node in answer["tenant"]["executions"]["nodes"]]
        assert [line.split('"')[3] for line in file.text.splitlines()] == nodes

    assert len({len(wanted) for wanted in filters}) > 1


@pytest.mark.parametrize("wanted", [{"teamId": "nonsense"}, {"projectId": ""}])
async def test_what_is_no_id_gives_no_link(graph: Graph, wanted: dict[str, str]) -> None:
    answer = await graph.answer(LINK, format="CSV", filter=wanted)

    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
