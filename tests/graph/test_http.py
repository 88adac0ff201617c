"""GraphQL over HTTP: what is no request, what is too much, and what a client sees of a fault of ours."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from resolvers import budget
from resolvers.budget import MAX_OBJECTS
from schema import engine
from schema.breadth_first import BreadthFirst, NotSimple
from schema.schema import build
from tests.support.graphql import Graph, counted_statements
from tests.support.things import nothing_written, one_of_each

JSON = {"content-type": "application/json"}
QUERY = "{ tenant { __typename } }"
ANSWER = {"data": {"tenant": {"__typename": "Tenant"}}}


async def _post(graph: Graph, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await graph.http.post("/graphql", content=content, headers=JSON if headers is None else headers)


def _codes(response: httpx.Response) -> list[str]:
    answer = response.json()
    assert list(answer) == ["errors"]
    return [error["extensions"]["code"] for error in answer["errors"]]


async def test_a_query_is_answered_in_the_media_type_that_is_asked_for(graph: Graph) -> None:
    plain = await _post(graph, {"query": QUERY})
    wanted = await _post(graph, {"query": QUERY}, {**JSON, "accept": "application/graphql-response+json"})
    with_charset = await _post(graph, {"query": QUERY}, {"content-type": "Application/JSON; charset=utf-8"})

    assert plain.json() == wanted.json() == with_charset.json() == ANSWER
    assert plain.headers["content-type"] == "application/json"
    assert wanted.headers["content-type"] == "application/graphql-response+json"


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_only_json_is_taken_so_that_no_foreign_page_can_post_a_form(
    graph: Graph, content_type: str | None
) -> None:
    body = {"query": 'mutation { createProject(input: {name: "P"}) { project { id } } }'}

    async with nothing_written(graph):
        response = await _post(graph, body, {} if content_type is None else {"content-type": content_type})

    assert response.status_code == 415
    assert _codes(response) == ["BAD_REQUEST"]


async def test_a_query_in_the_address_is_not_run(graph: Graph) -> None:
    response = await graph.http.get("/graphql", params={"query": QUERY}, headers={"accept": "application/json"})

    assert response.text != json.dumps(ANSWER)
    assert response.status_code in {200, 404, 405, 406}  # GraphiQL's page may stand here
    assert "Tenant" not in response.text
    assert (await graph.http.put("/graphql", json={"query": QUERY})).status_code == 405


NO_REQUEST: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{query",
    "null": b"null",
    "a list": b"[]",
    "a batch": json.dumps([{"query": QUERY}]).encode(),
    "a text": b'"query"',
    "a number": b"12",
    "no UTF-8": b'{"query": "\xff"}',
    "a lone surrogate": b'{"query": "{ tenant { id } } # \\ud800"}',
    "too deep": b"[" * 100_000,
    "too deep in the variables": b'{"query": "{ x }", "variables": {"a": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}",
    "not a number": b'{"query": "{ tenant { id } }", "variables": {"a": NaN}}',
    "without a query": b"{}",
    "with an empty query": b'{"query": ""}',
    "with a null query": b'{"query": null}',
    "with a list as query": b'{"query": ["{ tenant { id } }"]}',
    "with a list of variables": b'{"query": "{ tenant { id } }", "variables": []}',
    "with a number as operation": b'{"query": "{ tenant { id } }", "operationName": 1}',
}


@pytest.mark.parametrize("body", NO_REQUEST.values(), ids=NO_REQUEST)
async def test_what_is_no_request_is_refused_with_a_reason(graph: Graph, body: bytes) -> None:
    response = await _post(graph, body)

    assert response.status_code == 400
    assert _codes(response) == ["BAD_REQUEST"]
    assert response.json()["errors"][0]["message"]


async def test_a_body_that_is_too_large_is_not_read(graph: Graph) -> None:
    limit = graph.container.settings.max_request_bytes
    announced = await _post(graph, b" " * (limit + 1))

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(limit // 500_000 + 2):
            yield b" " * 500_000

    chunked = await graph.http.post("/graphql", content=unannounced(), headers=JSON)
    at_the_limit = await _post(graph, json.dumps({"query": QUERY}).encode().ljust(limit))

    assert (announced.status_code, chunked.status_code) == (413, 413)
    assert _codes(announced) == _codes(chunked) == ["BAD_REQUEST"]
    assert at_the_limit.json() == ANSWER


# ---------------------------------------------------------------- documents

TWO = "query A { tenant { __typename } } query B { tenant { id } }"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "\u0000"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "{ tenant }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "fragment F on Tenant { id }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": TWO}, "OPERATION_RESOLUTION_FAILED"),
        ({"query": TWO, "operationName": "C"}, "OPERATION_RESOLUTION_FAILED"),
        ({"query": TWO, "operationName": ""}, "OPERATION_RESOLUTION_FAILED"),
        ({"query": 'subscription { executionEvents(executionId: "x") { cursor } }'}, "BAD_REQUEST"),
        ({"query": "query($id: ID!) { node(id: $id) { id } }"}, "BAD_USER_INPUT"),
        ({"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": None}}, "BAD_USER_INPUT"),
        ({"query": "query($id: ID!) { node(id: $id) { id } }", "variables": {"id": [1]}}, "BAD_USER_INPUT"),
        ({"query": "query($n: Int) { tenant { teams(first: $n) { totalCount } } }", "variables": {"n": 10**30}},
         "BAD_USER_INPUT"),
        ({"query": "{ tenant { teams(first: 99999999999) { totalCount } } }"}, "GRAPHQL_VALIDATION_FAILED"),
    ],
    ids=str,
)  # fmt: skip
async def test_an_operation_that_cannot_be_run_is_told_why(graph: Graph, body: dict[str, Any], code: str) -> None:
    response = await _post(graph, body)

    assert _codes(response) == [code]


async def test_the_named_operation_is_run(graph: Graph) -> None:
    response = await _post(graph, {"query": TWO, "operationName": "A", "variables": None})

    assert response.json() == ANSWER


async def test_suggestions_stop_after_twenty_errors(graph: Graph) -> None:
    response = await _post(graph, {"query": "{ " + " ".join(f"x{number}" for number in range(3_000)) + " }"})

    assert len(response.json()["errors"]) == 21


DEEP = 300


def _fragments(levels: int, each: str, last: str) -> str:
    """Fragments on Tenant that each spread the next one, `levels` times."""
    made = " ".join(f"fragment F{level} on Tenant {{ {each.format(next=level + 1)} }}" for level in range(levels))
    return f"{made} fragment F{levels} on Tenant {{ {last} }}"


TWICE = (
    "a: projects(first: 1) {{ nodes {{ tenant {{ ...F{next} }} }} }}"
    " b: projects(first: 1) {{ nodes {{ tenant {{ ...F{next} }} }} }}"
)
BOMBS = {
    "nested too deeply": "{ tenant " + "{ projects { nodes { tenant " * DEEP + "{ id }" + " } } }" * DEEP + " }",
    "lists nested too deeply": "query($x: " + "[" * 1_900 + "ID" + "]" * 1_900 + ") { tenant { id } }",
    "too many tokens": "{ tenant { " + "id " * 4_000 + "} }",
    "too long": "{ tenant { id } } #" + "x" * 100_000,
    "the same field very often": "{ tenant { " + "id " * 3_900 + "} }",
    "fragments in a circle": "{ tenant { ...F } } fragment F on Tenant { projects { nodes { tenant { ...F } } } }",
    "fragments that double": "{ tenant { ...F0 } } " + _fragments(30, TWICE, "id"),
    "fragments that double, in the ordinary executor": "{ __schema { queryType { name } } tenant { ...F0 } } "
    + _fragments(30, TWICE, "id"),
    "spreads that double": "{ tenant { ...F0 } } " + _fragments(200, "...F{next} ...F{next}", "id"),
    "an introspection in circles": "{ __schema { types { fields { type { fields { type { fields { type { fields {"
    " type { name } } } } } } } } } } }",
    "full pages in full pages": "{ tenant { projects(first: 100) { nodes { teams(first: 100) { nodes { project {"
    " teams(first: 100) { nodes { project { teams(first: 100) { nodes { project { teams(first: 100) { nodes { id } }"
    " } } } } } } } } } } } }",
}


REFUSALS = {"GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "TOO_LARGE"}


@pytest.mark.parametrize("query", BOMBS.values(), ids=BOMBS)
async def test_a_document_that_would_cost_too_much_is_refused(graph: Graph, query: str) -> None:
    """Each of these took seconds to hours where it was not."""
    project_id = await graph.project()
    for _ in range(9):
        await graph.team(project_id)

    answer = (await _post(graph, {"query": query})).json()

    assert answer.get("data") is None
    assert {error["extensions"]["code"] for error in answer["errors"]} <= REFUSALS


async def test_the_ordinary_executor_stops_when_an_answer_grows_too_large(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_FIELDS", 50)
    project_id = await graph.project()
    for _ in range(9):
        await graph.team(project_id)
    ordinary = "{ __schema { queryType { name } } tenant { teams { nodes { %s } } } }"

    small = await graph.answer(ordinary % "id")
    large = await graph.answer(ordinary % "id name version process createdAt")

    assert len(small["data"]["tenant"]["teams"]["nodes"]) == 9
    assert large["data"] is None
    assert {error["extensions"]["code"] for error in large["errors"]} == {"TOO_LARGE"}


async def test_pages_that_could_bring_too_much_are_not_read(graph: Graph) -> None:
    project_id = await graph.project()
    for number in range(6):
        await graph.team(project_id, name=f"T{number}")
    nested = "nodes { project { teams(first: 100) { %s } } }"
    query = "query($id: ID!) { project(id: $id) { teams(first: 100) { "
    query += nested % (nested % (nested % (nested % "nodes { id }"))) + " } } }"

    answer = await graph.answer(query, id=project_id)

    assert 6**5 < MAX_OBJECTS < 6**4 * 100
    assert answer["data"] is None
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["TOO_LARGE"]


@pytest.fixture(params=["breadth first", "ordinary"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two executors: none may be a way around the other's limits."""

    async def give_up(*_: object) -> None:
        raise NotSimple

    if request.param == "ordinary":
        monkeypatch.setattr(BreadthFirst, "run", give_up)
    return str(request.param)


def _is_too_large(answer: dict[str, Any]) -> bool:
    return {error["extensions"]["code"] for error in answer["errors"]} == {"TOO_LARGE"}


@pytest.mark.usefixtures("executor")
async def test_aliases_of_full_pages_count_together_and_none_is_read(graph: Graph) -> None:
    for _ in range(9):
        await graph.project()
    aliases = " ".join(
        f'a{n}: teams(first: 100, filter: {{name: {{contains: "{n}"}}}}) {{ nodes {{ id }} }}' for n in range(60)
    )

    with counted_statements(graph) as seen:
        answer = await graph.answer(f"{{ tenant {{ projects {{ nodes {{ {aliases} }} }} }} }}")

    assert MAX_OBJECTS < 60 * 9 * 100
    assert answer["data"] is None
    assert _is_too_large(answer)
    assert len(seen) <= 3  # the tenant, its projects


@pytest.mark.usefixtures("executor")
async def test_lists_are_cut_off_where_they_are_too_much(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    team_id = await graph.team()
    for _ in range(8):
        await graph.role(team_id)
    query = "query($id: ID!) { team(id: $id) { roles { id subordinates { id } } tasks { id } } }"
    monkeypatch.setattr(budget, "MAX_OBJECTS", 8)
    fitting = await graph.answer(query, id=team_id)
    limits: list[Any] = []
    reader, children = graph.container.reader, graph.container.reader.children

    async def watched(*arguments: Any) -> Any:
        limits.append(arguments[-1])
        return await children(*arguments)

    monkeypatch.setattr(reader, "children", watched)
    monkeypatch.setattr(budget, "MAX_OBJECTS", 5)
    answer = await graph.answer(query, id=team_id)

    assert len(fitting["data"]["team"]["roles"]) == 8
    assert _is_too_large(answer)
    assert set(limits) == {6}


@pytest.mark.usefixtures("executor")
async def test_after_a_refusal_nothing_goes_on(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    team_id = await graph.ready_team()
    reader, are_read = graph.container.reader, asyncio.Event()
    begun: list[object] = []

    async def slow(*question: Any) -> Any:
        begun.append(question)
        if len(begun) == 2:
            are_read.set()
        await asyncio.Event().wait()

    async def lists(*_: Any) -> Any:
        await are_read.wait()
        raise budget.TooLarge

    monkeypatch.setattr(reader, "pages", slow)
    monkeypatch.setattr(reader, "activity_by_team", slow)
    monkeypatch.setattr(reader, "children", lists)
    before = asyncio.all_tasks()
    answer = await graph.answer(
        "query($id: ID!) { team(id: $id) { executions { nodes { id } } roles { id } status } }", id=team_id
    )

    assert _is_too_large(answer)
    assert len(begun) == 2
    assert asyncio.all_tasks() <= before


@pytest.mark.parametrize("limit", [250, 2_000])
async def test_a_wide_dashboard_is_not_too_large(graph: Graph, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """What lists bring counts, not what they could: 2,000 for the roles, and as much again for the tasks."""
    monkeypatch.setattr(budget, "MAX_OBJECTS", limit)
    project_id = await graph.project()
    for _ in range(20):
        team_id = await graph.team(project_id)
        await graph.role(team_id)
        await graph.task(team_id)

    data = await graph.query(
        "query($id: ID!) { project(id: $id) { teams(first: 100) { nodes {"
        " roles { id tools { id } } tasks { id dependsOn { id } } executions(first: 5) { nodes { id } } } } } }",
        id=project_id,
    )

    assert sum(len(team["roles"]) for team in data["project"]["teams"]["nodes"]) == 20


@pytest.mark.parametrize(
    "query",
    [
        "{ " + "tenant{id}" * 990 + " }",
        "{ " + ("tenant{" + "id " * 100 + "}") * 35 + " }",
        "{ " + "...{tenant{id}}" * 500 + " }",
        "{ " + "".join(f"...F{n} " for n in range(300)) + "}"
        + "".join(f" fragment F{n} on Query{{tenant{{id}}}}" for n in range(300)),
    ],
    ids=["flat", "nested", "inline", "fragments"],
)  # fmt: skip
async def test_the_same_fields_again_and_again_are_refused_before_they_are_compared(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(engine, "validate", never)

    assert _is_too_large(await graph.answer(query))


async def test_refused_documents_are_not_remembered_and_their_errors_show_the_place(graph: Graph) -> None:
    made = build.__wrapped__()  # one that remembers nothing yet

    async def run(query: str) -> Any:
        return await made.execute(query, context_value=graph.container.context(remembers=True))

    for number in range(5):
        assert (await run("{ tenant { id } } #" + "x" * (100_000 + number))).errors
        assert (await run(f"{{ nothing{number} }}")).errors
        assert (await run("{" + " " * number)).errors
    unknown = await run("{ tenant {\n  nothing } }")
    assert (await run(QUERY)).data

    assert unknown.errors[0].formatted["locations"] == [{"line": 2, "column": 3}]
    kept = made._remembered.cache_info()  # noqa: SLF001 - how many documents are kept shows nowhere else
    assert (kept.currsize, kept.maxsize) == (1, engine.REMEMBERED_DOCUMENTS)


async def test_few_objects_with_very_many_values_are_too_large(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    from schema import breadth_first  # noqa: PLC0415 - the module whose limit is lowered

    monkeypatch.setattr(breadth_first, "MAX_VALUES", 500)
    project_id = await graph.project()
    for _ in range(5):
        await graph.team(project_id)
    many = " ".join(f"a{number}: name" for number in range(100))

    answer = await graph.answer(
        f"query($id: ID!) {{ project(id: $id) {{ teams {{ nodes {{ {many} }} }} }} }}", id=project_id
    )

    assert [error["extensions"]["code"] for error in answer["errors"]] == ["TOO_LARGE"]


async def test_the_whole_schema_can_still_be_introspected(graph: Graph) -> None:
    from graphql import build_client_schema, get_introspection_query  # noqa: PLC0415

    data: Any = await graph.query(get_introspection_query(input_value_deprecation=True))

    assert build_client_schema(data).query_type


# ---------------------------------------------------------------- faults of ours


class _Broken:
    """A use case, or a reader, with a fault and a secret."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"postgres://admin:secret@db/{name}")

    def __call__(self, *_: object) -> Any:
        raise RuntimeError("postgres://admin:secret@db")


def _masked(answer: dict[str, Any], path: list[str]) -> str:
    """The correlation id of an answer that tells nothing else."""
    assert "secret" not in json.dumps(answer)
    (error,) = answer["errors"]
    correlation_id = error["extensions"]["correlationId"]
    assert re.fullmatch("[0-9a-f]{32}-[0-9a-f]{8}", correlation_id)
    assert error == {
        "message": "Unexpected error",
        "locations": error["locations"],
        "path": path,
        "extensions": {"code": "INTERNAL", "correlationId": correlation_id},
    }
    return str(correlation_id)


async def test_a_fault_in_a_mutation_is_masked_and_can_be_found_in_the_log(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    team_id = await graph.ready_team()
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(engine, "_log", _Log(logged))
    object.__setattr__(graph.container.services, "kickoff", _Broken())

    async with nothing_written(graph):
        body = {
            "query": "mutation($id: ID!) { kickoffTeam(input: {teamId: $id}) { errors { code } } }",
            "variables": {"id": team_id},
        }
        response = await _post(graph, body)

    correlation_id = _masked(response.json(), ["kickoffTeam"])
    (entry,) = logged
    assert entry["correlation_id"] == correlation_id
    assert correlation_id.startswith(response.headers["x-request-id"])
    assert str(entry["exc_info"]) == "postgres://admin:secret@db"


async def test_a_fault_in_a_query_is_masked_at_its_field(graph: Graph) -> None:
    things = await one_of_each(graph)
    reader, usage = graph.container.reader, graph.container.reader.usage
    object.__setattr__(reader, "usage", _Broken())

    answer = await graph.answer(
        "query($id: ID!) { execution(id: $id) { id usage { calls } } tenant { name } }", id=things["Execution"]
    )
    object.__setattr__(reader, "usage", usage)

    _masked(answer, ["execution", "usage"])
    assert answer["data"]["execution"] is None
    assert answer["data"]["tenant"]["name"]


class _Log:
    def __init__(self, logged: list[dict[str, Any]]) -> None:
        self.logged = logged

    def error(self, _event: str, **values: Any) -> None:
        self.logged.append(values)

    def debug(self, *_: object, **__: object) -> None:
        """Not of interest."""
