"""Metrics in the graph: whose, over which period, and that only what is asked for is read, for all things at once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.errors import FailureCode
from domain.model.execution import ExecutionStatus, TaskExecutionStatus
from resolvers import metrics_inputs
from resolvers.node_ids import node_id, parse_node_id
from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.graphql import Graph, counted_statements
from tests.support.histories import Did, a_past_run
from tests.support.things import MALFORMED, strangers_things, unknown

DURATION = "{ count meanSeconds p50Seconds p95Seconds p99Seconds }"
COUNTS = "ended completed failed cancelled successRate"
FIGURES = f"""{{ executions {{ {COUNTS} }} cacheHits duration {DURATION} queueWait {DURATION}
    tasks {{ {COUNTS} attemptsRepeated duration {DURATION} }}
    calls {{ {COUNTS} attemptsRepeated duration {DURATION} }}
    toolCalls {{ {COUNTS} attemptsRepeated duration {DURATION} }}
    spend {{ amount currency }} tokens {{ prompt completion cached reasoning total }} }}"""
CHANGE = "change { executions successRate durationP95 spend tokens }"
REPORT = f"""dimension key name node {{ id }} within {{ id }} period {{ from to granularity }}
    now {{ active queued paused oldestWaitSeconds }} overview {FIGURES} previous {FIGURES} {CHANGE}
    series {{ start end figures {FIGURES} }}"""
SHORT = "dimension key name node { id } overview { executions { ended } tasks { ended } calls { ended } }"
METRICS = """query($scope: MetricsScopeInput, $period: MetricsPeriodInput) {
    metrics(scope: $scope, period: $period) { %s } }"""

MARCH = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-04T00:00:00Z"}
SECOND = datetime(2026, 3, 2, 12, tzinfo=UTC)


def raw(global_id: str) -> UUID:
    return parse_node_id(global_id)[1]


async def a_team(graph: Graph, project_id: str | None = None) -> dict[str, str]:
    project = project_id or await graph.project()
    team = await graph.team(project)
    role = await graph.role(team, title="Writer")
    task = await graph.task(team, roleId=role, name="Write")
    return {"project": project, "team": team, "role": role, "task": task}


async def ran(graph: Graph, ids: dict[str, str], ended_at: datetime = SECOND, **values: Any) -> None:
    """One execution with one task of 10 seconds, which is on the ledger with 1,200 tokens for a tenth of a dollar."""
    did = Did(raw(ids["role"]), raw(ids["task"]), **values.pop("did", {}))
    await a_past_run(graph.container.database.pool, raw(ids["team"]), did, ended_at=ended_at, **values)


async def metrics(graph: Graph, selection: str, scope: Any = None, **period: Any) -> Any:
    asked = period or MARCH
    return (await graph.query(METRICS % selection, scope=scope, period=asked))["metrics"]


class Witness:
    """Hands on to the metrics that there are, and keeps what was asked of them."""

    def __init__(self, graph: Graph) -> None:
        self.asked: list[str] = []
        self.plain: Any = graph.container.services.metrics
        graph.container.services = replace(graph.container.services, metrics=self)

    def __getattr__(self, name: str) -> Any:
        async def asked(*arguments: Any) -> Any:
            self.asked.append(name)
            return await getattr(self.plain, name)(*arguments)

        return asked


async def test_an_overview_counts_what_ended_in_the_period(graph: Graph) -> None:
    ids = await a_team(graph)
    await ran(graph, ids)
    await ran(graph, ids, did={"status": TaskExecutionStatus.FAILED, "failure": FailureCode.MODEL_UNAVAILABLE})
    await ran(graph, ids, SECOND + timedelta(days=2))  # when the period is over
    await ran(graph, ids, SECOND - timedelta(days=2))  # in the period before

    found = await metrics(graph, REPORT, {"teamId": ids["team"]})

    assert (found["dimension"], found["key"], found["node"]) == ("TEAM", ids["team"], {"id": ids["team"]})
    assert found["period"] == {
        "from": "2026-03-01T00:00:00+00:00",
        "to": "2026-03-04T00:00:00+00:00",
        "granularity": "DAY",
    }
    overview = found["overview"]
    assert overview["executions"] == {"ended": 2, "completed": 1, "failed": 1, "cancelled": 0, "successRate": 0.5}
    assert (overview["duration"]["count"], overview["duration"]["meanSeconds"]) == (2, 60.0)
    assert overview["duration"]["p95Seconds"] == pytest.approx(60, rel=0.01)
    assert (overview["tasks"]["ended"], overview["tasks"]["duration"]["meanSeconds"]) == (2, 10.0)
    assert overview["spend"] == {"amount": "0.2", "currency": "USD"}
    assert overview["tokens"] == {"prompt": 2000, "completion": 400, "cached": 0, "reasoning": 0, "total": 2400}
    assert found["previous"]["executions"]["ended"] == 1
    assert found["change"] == {
        "executions": 1.0,
        "successRate": -0.5,
        "durationP95": 0.0,
        "spend": 1.0,
        "tokens": 1.0,
    }
    assert [point["figures"]["executions"]["ended"] for point in found["series"]] == [0, 2, 0]
    assert found["series"][1]["figures"] == overview
    assert (found["series"][1]["start"], found["series"][1]["end"]) == (
        "2026-03-02T00:00:00+00:00",
        "2026-03-03T00:00:00+00:00",
    )


async def test_nothing_is_nothing_and_not_zero(graph: Graph) -> None:
    ids = await a_team(graph)

    found = await metrics(graph, REPORT, {"teamId": ids["team"]})

    assert found["overview"]["executions"]["successRate"] is None
    assert found["overview"]["duration"] == {
        "count": 0,
        "meanSeconds": None,
        "p50Seconds": None,
        "p95Seconds": None,
        "p99Seconds": None,
    }
    assert set(found["change"].values()) == {None}
    assert len(found["series"]) == 3


async def test_each_scope_has_what_belongs_to_it(graph: Graph) -> None:
    ids, other = await a_team(graph), await a_team(graph)
    await ran(graph, ids, did={"model": "test/one"})
    await ran(graph, other, did={"model": "test/one"})
    await ran(graph, other, did={"model": "test/two"})

    async def ended(**scope: Any) -> Any:
        overview = (await metrics(graph, SHORT, scope))["overview"]
        return [overview[each]["ended"] for each in ("executions", "tasks", "calls")]

    assert (await metrics(graph, SHORT))["overview"]["executions"]["ended"] == 3
    assert await ended(projectId=other["project"]) == [2, 2, 2]
    assert await ended(teamId=ids["team"]) == [1, 1, 1]
    assert await ended(roleId=other["role"]) == await ended(taskId=other["task"]) == [0, 2, 2]
    assert await ended(model="test/one") == [0, 2, 2]
    assert await ended(model="test/one", within={"teamId": ids["team"]}) == [0, 1, 1]
    assert await ended(model="test/one", within={"projectId": other["project"]}) == [0, 1, 1]
    assert await ended(strategy="SEQUENTIAL") == [3, 3, 3]
    assert await ended(tool="Search") == await ended(domain="marketing") == await ended(model="") == [0, 0, 0]


async def test_what_is_under_way_is_told_of_a_tenant_project_or_team(graph: Graph) -> None:
    ids = await a_team(graph)
    await graph.kickoff(ids["team"])
    await graph.kickoff(await graph.ready_team())

    now = {
        name: (await metrics(graph, "now { active queued paused oldestWaitSeconds }", scope))["now"]
        for name, scope in {"all": None, "team": {"teamId": ids["team"]}, "role": {"roleId": ids["role"]}}.items()
    }

    assert now["role"] is None
    assert now["team"].pop("oldestWaitSeconds") > 0
    assert now["all"].pop("oldestWaitSeconds") > 0
    assert now["team"] == {"active": 0, "queued": 1, "paused": 0}
    assert now["all"] == {"active": 0, "queued": 2, "paused": 0}


async def test_without_a_period_it_is_the_last_thirty_days(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_inputs, "utc_now", lambda: SECOND)
    ids = await a_team(graph)
    today = SECOND.replace(hour=0)
    await ran(graph, ids, today - timedelta(days=29))
    await ran(graph, ids, today - timedelta(days=29, microseconds=1))

    selection = "period { granularity } series { start } overview { executions { ended } }"
    found = (await graph.query(f"{{ metrics {{ {selection} }} }}"))["metrics"]

    assert found["period"] == {"granularity": "DAY"}
    assert len(found["series"]) == 30
    assert found["overview"]["executions"]["ended"] == 1


async def test_the_most_are_told_with_their_names_in_one_batch(graph: Graph) -> None:
    ids = await a_team(graph)
    teams = [ids, *[await a_team(graph, ids["project"]) for _ in range(3)]]
    for number, team in enumerate(teams):
        await ran(graph, team, did={"cost": str(number + 1), "seconds": 10.0 - number, "model": f"test/{number}"})
    selection = """top(dimension: %s) { dimension key name node { id } figures { spend { amount } } }"""

    with counted_statements(graph) as statements:
        found = await metrics(graph, selection % "TEAM, first: 3", {"projectId": ids["project"]})
    models = await metrics(graph, selection % "MODEL, first: 1", {"projectId": ids["project"]})
    slowest = await metrics(graph, selection % "TASK, by: DURATION, first: 1")

    assert [group["figures"]["spend"]["amount"] for group in found["top"]] == ["4", "3", "2"]
    assert [group["key"] for group in found["top"]] == [team["team"] for team in reversed(teams[1:])]
    assert [group["node"]["id"] for group in found["top"]] == [group["key"] for group in found["top"]]
    assert all(group["name"].startswith("Team") for group in found["top"])
    assert len(statements) == 2  # the project, and the teams
    assert [(it["dimension"], it["key"], it["name"], it["node"]) for it in models["top"]] == [
        ("MODEL", "test/3", "test/3", None)
    ]
    assert [(it["key"], it["name"]) for it in slowest["top"]] == [(ids["task"], "Write")]


async def test_only_what_is_selected_is_read(graph: Graph) -> None:
    ids = await a_team(graph)
    witness = Witness(graph)

    async def asked(selection: str) -> list[str]:
        witness.asked.clear()
        await metrics(graph, selection, {"teamId": ids["team"]})
        return sorted(witness.asked)

    assert await asked("period { from } name") == []
    assert await asked("overview { cacheHits }") == ["figures"]
    assert await asked("series { start }") == ["series"]
    assert await asked("now { active }") == ["present"]
    assert await asked("change { spend }") == ["figures"] * 2
    assert await asked("overview { cacheHits } previous { cacheHits } change { spend tokens }") == ["figures"] * 2
    assert await asked("top(dimension: ROLE) { name }") == ["groups"]


_EACH = f"""metrics(period: $period) {{ {SHORT} previous {{ cacheHits }} {CHANGE}
    series {{ figures {{ tasks {{ ended }} }} }} }}"""
NESTED = f"""query($id: ID!, $period: MetricsPeriodInput) {{ project(id: $id) {{ {_EACH} teams(first: 100) {{ nodes {{
    {_EACH} roles {{ {_EACH} }} tasks {{ {_EACH} }} }} }} }} }}"""


@pytest.mark.parametrize("is_ordinary", [False, True])
async def test_what_many_things_are_asked_is_read_at_once(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, *, is_ordinary: bool
) -> None:
    async def give_up(*_: object) -> None:
        raise NotSimple

    if is_ordinary:
        monkeypatch.setattr(BreadthFirst, "run", give_up)
    ids = await a_team(graph)
    await ran(graph, ids)
    witness = Witness(graph)

    async def cost() -> tuple[int, int, Any]:
        witness.asked.clear()
        with counted_statements(graph) as statements:
            found = await graph.query(NESTED, id=ids["project"], period=MARCH)
        return len(witness.asked), len(statements), found

    few_questions, few_statements, _ = await cost()
    for _ in range(4):
        await ran(graph, await a_team(graph, ids["project"]))
    questions, statements, found = await cost()

    assert questions == few_questions == 3 * 4 if not is_ordinary else questions <= few_questions + 4
    assert statements <= few_statements + (5 if is_ordinary else 0)
    teams = found["project"]["teams"]["nodes"]
    assert [team["metrics"]["overview"]["executions"]["ended"] for team in teams] == [1] * 5
    assert [team["roles"][0]["metrics"]["name"] for team in teams] == ["Writer"] * 5
    assert found["project"]["metrics"]["overview"]["executions"]["ended"] == 5


async def test_both_executors_give_the_same_answer(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_up(*_: object) -> None:
        raise NotSimple

    ids = await a_team(graph)
    await ran(graph, ids, did={"prompt_tokens": 9_007_199_254_740_000})  # far beyond 32 bits
    selection = f"{REPORT} top(dimension: MODEL) {{ key name figures {FIGURES} }}"

    first = await metrics(graph, selection, {"teamId": ids["team"]})
    monkeypatch.setattr(BreadthFirst, "run", give_up)

    assert await metrics(graph, selection, {"teamId": ids["team"]}) == first
    assert first["overview"]["tokens"]["total"] == 9_007_199_254_740_200


async def test_an_unknown_id_is_null(graph: Graph) -> None:
    ids = await a_team(graph)
    scopes: list[dict[str, Any]] = [{"teamId": it} for it in (unknown("Team"), ids["role"], *MALFORMED)]
    scopes += [{f"{kind.lower()}Id": unknown(kind)} for kind in ("Project", "Role", "Task", "Template")]
    scopes.append({"model": "test/model", "within": {"projectId": unknown("Project")}})

    assert [await metrics(graph, SHORT, scope) for scope in scopes] == [None] * len(scopes)


async def test_a_strangers_things_are_unknown_and_do_not_count(graph: Graph) -> None:
    ids = await a_team(graph)
    await ran(graph, ids, did={"model": "test/model"})
    await strangers_things(graph)

    assert await metrics(graph, SHORT, {"teamId": ids["team"]}) is None
    for scope in (None, {"model": "test/model"}, {"strategy": "SEQUENTIAL"}):
        found = await metrics(
            graph, f"{SHORT} now {{ queued }} top(dimension: TEAM) {{ key }}" if not scope else SHORT, scope
        )
        assert [it["ended"] for it in found["overview"].values()] == [0, 0, 0]
    assert (await metrics(graph, "now { queued } top(dimension: TEAM) { key }")) == {
        "now": {"queued": 0},
        "top": [],
    }


@pytest.mark.parametrize(
    ("scope", "period", "message", "argument"),
    [
        ({"model": "a", "tool": "b"}, {}, "Give one of these at most.", ["scope", "tool"]),
        ({"within": {"teamId": "x"}}, {}, "This goes with a model, tool, strategy or domain.", ["scope", "within"]),
        (
            {"teamId": "x", "within": {"teamId": "x"}},
            {},
            "This goes with a model, tool, strategy or domain.",
            ["scope", "within"],
        ),
        ({"model": "a", "within": {}}, {}, "Give either a project or a team.", ["scope", "within"]),
        (
            {"tool": "a\x00"},
            {},
            "No name has the character U+0000, or half a surrogate pair.",
            ["scope", "tool"],
        ),
        (None, {"to": "0001-01-02T00:00:00Z"}, "This moment is out of range.", ["period"]),
        (None, {"from": "0001-01-01T00:00:00+14:00"}, "This moment is out of range.", ["period", "from"]),
        (
            None,
            {"from": "2026-03-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
            "The period has to begin before it ends.",
            ["period", "from"],
        ),
        (
            None,
            {"from": "2026-01-01T00:00:00Z", "to": "2026-03-01T00:00:00Z", "granularity": "HOUR"},
            "A period has at most 1000 parts: choose a coarser granularity.",
            ["period", "granularity"],
        ),
    ],
)
async def test_bad_arguments_are_told(graph: Graph, scope: Any, period: Any, message: str, argument: list[str]) -> None:
    witness = Witness(graph)

    answer = await graph.answer(METRICS % SHORT, scope=scope, period=period)

    assert [(it["message"], it["extensions"]) for it in answer["errors"]] == [
        (message, {"code": "INVALID", "argument": argument})
    ]
    assert witness.asked == []


@pytest.mark.parametrize(
    ("scope", "arguments", "message", "argument"),
    [
        (None, "dimension: TENANT", "There is one tenant: ask by what is in it.", "dimension"),
        (None, "dimension: ROLE, first: 0", "Must be between 1 and 100.", "first"),
        (None, "dimension: ROLE, first: 101", "Must be between 1 and 100.", "first"),
        ("a team", "dimension: PROJECT", "There is none of these in it, it is in one itself.", "dimension"),
        (
            {"model": "test/model"},
            "dimension: ROLE",
            "Only the metrics of a tenant, project or team can be told by what is in it.",
            "dimension",
        ),
    ],
)
async def test_bad_arguments_of_the_most_are_told(
    graph: Graph, scope: Any, arguments: str, message: str, argument: str
) -> None:
    if scope == "a team":
        scope = {"teamId": await graph.team()}

    answer = await graph.answer(METRICS % f"top({arguments}) {{ key }}", scope=scope, period=None)

    assert [(it["message"], it["extensions"]) for it in answer["errors"]] == [
        (message, {"code": "INVALID", "argument": [argument]})
    ]


@pytest.mark.parametrize(
    ("around", "one", "enough"),
    [
        ("%s", "a{n}: metrics {{ name }}", 50),
        ("%s", 'a{n}: metrics(period: {{to: "2026-01-{n:02}T00:00:00Z"}}) {{ series {{ start }} }}', 22),
        ("metrics { %s }", "a{n}: top(dimension: ROLE, first: {n}) {{ key }}", 12),
        (
            "team(id: $id) { %s }",
            'a{n}: metrics(period: {{from: "{y}-01-01", granularity: MONTH}}) {{ overview {{ cacheHits }} }}',
            47,
        ),
    ],
)
async def test_one_operation_reads_only_so_much(graph: Graph, around: str, one: str, enough: int) -> None:
    team_id = await graph.team()

    async def answer(count: int) -> Any:
        fields = around % " ".join(one.format(n=number + 1, y=1970 + number) for number in range(count))
        return await graph.answer(f"query($id: ID!) {{ node(id: $id) {{ id }} {fields} }}", id=team_id)

    allowed = await answer(enough)
    witness = Witness(graph)
    refused = await answer(enough + 1)

    assert "errors" not in allowed
    assert [it["extensions"]["code"] for it in refused["errors"]] == ["TOO_LARGE"]
    assert len(witness.asked) <= enough


async def test_templates_have_metrics_those_that_ship_too(graph: Graph) -> None:
    project_id = await graph.project()
    query = "{ templates(first: 1) { nodes { id name domain parameters { name isRequired description } } } }"
    [template] = (await graph.query(query))["templates"]["nodes"]
    given = {it["name"]: it["description"] for it in template["parameters"] if it["isRequired"]}
    made = await graph.mutate(
        "instantiateTemplate",
        "team { id roles { id } tasks { id } }",
        templateId=template["id"],
        projectId=project_id,
        parameters=given,
    )
    team = made["team"]
    ids = {"team": team["id"], "role": team["roles"][0]["id"], "task": team["tasks"][0]["id"]}
    await ran(graph, ids, status=ExecutionStatus.CANCELLED)

    by_id = await metrics(graph, SHORT, {"templateId": template["id"]})
    by_domain = await metrics(graph, SHORT, {"domain": template["domain"]})
    field = "query($id: ID!, $period: MetricsPeriodInput) { template(id: $id) { metrics(period: $period) { %s } } }"
    nested = (await graph.query(field % SHORT, id=template["id"], period=MARCH))["template"]["metrics"]

    assert by_id == nested
    assert (by_id["name"], by_id["node"]) == (template["name"], {"id": template["id"]})
    assert by_id["overview"] == by_domain["overview"]
    assert by_id["overview"]["executions"]["ended"] == 1
    assert node_id("Template", raw(template["id"])) == by_id["key"]
