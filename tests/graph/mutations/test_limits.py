"""Budgets and limits as people set them: every amount exact, every bad one refused, and kickoffs without money."""

import asyncio
import json
from typing import Any

import pytest

from persistence.engine import Database
from tests.support.graphql import Graph
from tests.support.ledger import an_entry, book
from tests.support.live import PlayedWorker
from tests.support.things import nothing_written, one_of_each, strangers_things

OUT_OF_RANGE = "Must be between 0 and 1000000000."
TOO_FINE = "At most 12 decimal digits."
REFUSED = {
    "-0.01": OUT_OF_RANGE,
    "-1": OUT_OF_RANGE,
    "1000000000.000000000001": OUT_OF_RANGE,
    "1e400": OUT_OF_RANGE,
    "1e999": OUT_OF_RANGE,
    "0.0000000000001": TOO_FINE,
    "1e-999": TOO_FINE,
    "123456789.1234567890120000000000000000000000000001": TOO_FINE,  # exact, not as rounded to some precision
}
NO_DECIMALS: list[Any] = [
    "NaN",
    "sNaN",
    "Infinity",
    "-inf",
    "",
    " 1",
    "1 ",
    "1_000",
    "1,5",
    "\u0661",
    "0x1",
    "1.",
    ".5",
    "1e9999",
    "$1",
]
NO_DECIMALS += ["1e99999999999999999999", "9" * 101, True, [], {}, ["1"], {"amount": "1"}, 0.12345678901234567]
ACCEPTED = {
    "0": "0",
    "-0.00": "0",
    "0.1": "0.1",
    "0.10": "0.1",
    "1e2": "100",
    "1000000000": "1000000000",
    "999999999.999999999999": "999999999.999999999999",
    "0.000000000001": "0.000000000001",
    "1.5000000000000000000": "1.5",
}
LIMIT = "budget { limit { amount } }"
SHORTFALL = """mutation($input: KickoffTeamInput!) { kickoffTeam(input: $input) { execution { id } errors {
    __typename code path message suggestion ... on BudgetExceeded {
        scope limit { amount } spent { amount } reserved { amount } required { amount } } } } }"""


def _inputs(own: dict[str, str], amount: Any) -> dict[str, dict[str, Any]]:
    """Every mutation that takes an amount, by the amount's place."""
    task = {"name": "Another", "description": "Do.", "expectedOutput": "Done."}
    return {
        "updateTenant.monthlyBudget": {"monthlyBudget": amount},
        "createProject.monthlyBudget": {"name": "New", "monthlyBudget": amount},
        "updateProject.monthlyBudget": {"id": own["Project"], "version": 1, "monthlyBudget": amount},
        "createTeam.monthlyBudget": {"projectId": own["Project"], "name": "New", "monthlyBudget": amount},
        "updateTeam.monthlyBudget": {"id": own["Team"], "version": 1, "monthlyBudget": amount},
        "createTask.maxBudget": {"teamId": own["Team"], **task, "maxBudget": amount},
        "updateTask.maxBudget": {"id": own["Task"], "version": 1, "maxBudget": amount},
        "kickoffTeam.maxBudget": {"teamId": own["Team"], "maxBudget": amount},
        "kickoffTeam.maxTaskBudget": {"teamId": own["Team"], "maxTaskBudget": amount},
    }


@pytest.mark.parametrize("amount", REFUSED)
async def test_an_amount_that_cannot_be_a_budget_is_refused_wherever_one_is_given(graph: Graph, amount: str) -> None:
    own = await one_of_each(graph)

    async with nothing_written(graph):
        answers = {
            place: (await graph.mutate(place.partition(".")[0], "__typename", **given))["errors"]
            for place, given in _inputs(own, amount).items()
        }

    told = {
        place: [(it["__typename"], it["code"], it["path"], it["message"]) for it in answers[place]] for place in answers
    }
    assert told == {
        place: [("Invalid", "INVALID", ["input", place.partition(".")[2]], REFUSED[amount])] for place in answers
    }


@pytest.mark.parametrize("amount", NO_DECIMALS, ids=lambda amount: repr(amount)[:25])
async def test_what_is_no_decimal_is_refused_before_anything_is_run(graph: Graph, amount: Any) -> None:
    own = await one_of_each(graph)

    async with nothing_written(graph):
        for place, given in _inputs(own, amount).items():
            name = place.partition(".")[0]
            kind = f"{name[0].upper()}{name[1:]}Input"
            query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ __typename }} }}"
            answer = await graph.answer(query, input=given)

            assert "data" not in answer
            assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_USER_INPUT"]


@pytest.mark.parametrize(
    ("literal", "code"),
    [
        ("NaN", "GRAPHQL_VALIDATION_FAILED"),
        ("true", "GRAPHQL_VALIDATION_FAILED"),
        ("[1]", "GRAPHQL_VALIDATION_FAILED"),
        ("{amount: 1}", "GRAPHQL_VALIDATION_FAILED"),
        ('"NaN"', "GRAPHQL_VALIDATION_FAILED"),
        ("9" * 5_000, "GRAPHQL_VALIDATION_FAILED"),
        ("1e99999", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_a_literal_that_is_no_decimal_is_refused(graph: Graph, literal: str, code: str) -> None:
    async with nothing_written(graph):
        answer = await graph.answer(
            f"mutation {{ updateTenant(input: {{monthlyBudget: {literal}}}) {{ __typename }} }}"
        )

    assert [error["extensions"]["code"] for error in answer["errors"]] == [code]


async def test_a_number_beyond_what_json_libraries_take_is_refused(graph: Graph) -> None:
    query = "mutation($amount: Decimal) { updateTenant(input: {monthlyBudget: $amount}) { __typename } }"
    body = json.dumps({"query": query, "variables": {"amount": 7}}).replace("7", "1e400")

    async with nothing_written(graph):
        response = await graph.http.post("/graphql", content=body, headers={"content-type": "application/json"})

    assert response.status_code == 400
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_REQUEST"]


@pytest.mark.parametrize("amount", ACCEPTED)
async def test_an_amount_is_kept_as_it_was_written(graph: Graph, amount: str) -> None:
    project = await graph.make("Project", LIMIT, name="Exact", monthlyBudget=amount)
    tenant = await graph.mutate("updateTenant", f"tenant {{ {LIMIT} }}", monthlyBudget=amount)
    query = f"mutation {{ updateTenant(input: {{monthlyBudget: {amount}}}) {{ tenant {{ {LIMIT} }} }} }}"
    literal = await graph.query(query)

    kept = {"limit": {"amount": ACCEPTED[amount]}}
    assert project["budget"] == tenant["tenant"]["budget"] == literal["updateTenant"]["tenant"]["budget"] == kept


@pytest.mark.parametrize(("number", "kept"), [(0.1, "0.1"), (3, "3"), (1e-12, "0.000000000001"), (0.3, "0.3")])
async def test_a_json_number_is_the_decimal_that_was_written(graph: Graph, number: float, kept: str) -> None:
    payload = await graph.mutate("updateTenant", f"tenant {{ {LIMIT} }}", monthlyBudget=number)

    assert payload == {"tenant": {"budget": {"limit": {"amount": kept}}}, "errors": []}


@pytest.mark.parametrize("kind", ["Project", "Team"])
async def test_null_takes_the_budget_away_and_what_is_left_out_stays(graph: Graph, kind: str) -> None:
    home = {} if kind == "Project" else {"projectId": await graph.project()}
    made = await graph.make(kind, f"id version {LIMIT}", name="Kettle", monthlyBudget="5", **home)

    async def update(version: int, **values: Any) -> Any:
        selection = f"{kind.lower()} {{ {LIMIT} }}"
        payload = await graph.mutate(f"update{kind}", selection, id=made["id"], version=version, **values)
        assert payload["errors"] == []
        return payload[kind.lower()]["budget"]["limit"]

    assert await update(1, name="Pot") == {"amount": "5"}
    assert await update(2, monthlyBudget="6.5") == {"amount": "6.5"}
    assert await update(3, monthlyBudget=None) is None


async def test_the_tenants_budget_is_set_kept_and_taken_away(graph: Graph) -> None:
    async def update(**values: Any) -> Any:
        payload = await graph.mutate("updateTenant", f"tenant {{ id name {LIMIT} }}", **values)
        assert payload["errors"] == []
        return payload["tenant"]["budget"]["limit"]

    assert await update(monthlyBudget="7") == {"amount": "7"}
    assert await update() == {"amount": "7"}
    assert await update(monthlyBudget=None) is None


@pytest.mark.parametrize("kind", ["Project", "Team", "Task"])
async def test_a_stale_version_changes_no_budget(graph: Graph, kind: str) -> None:
    own = await one_of_each(graph)
    field = "maxBudget" if kind == "Task" else "monthlyBudget"

    async with nothing_written(graph):
        payload = await graph.mutate(f"update{kind}", "__typename", id=own[kind], version=7, **{field: "1"})

    assert [(error["__typename"], error["expected"], error["actual"]) for error in payload["errors"]] == [
        ("StaleVersion", 7, 1)
    ]


@pytest.mark.parametrize("kind", ["Project", "Team", "Task"])
async def test_a_strangers_budget_is_not_found(graph: Graph, kind: str) -> None:
    strangers = await strangers_things(graph)
    field = "maxBudget" if kind == "Task" else "monthlyBudget"

    async with nothing_written(graph):
        payload = await graph.mutate(f"update{kind}", "__typename", id=strangers[kind], version=1, **{field: "1"})

    assert [(error["__typename"], error["path"]) for error in payload["errors"]] == [("NotFound", ["input", "id"])]


async def test_only_ones_own_tenant_is_changed(graph: Graph) -> None:
    await strangers_things(graph)

    await graph.mutate("updateTenant", "__typename", monthlyBudget="7")

    rows = await graph.container.database.pool.fetch("SELECT name, monthly_budget FROM tenant")
    assert {row["name"] == "Stranger": row["monthly_budget"] for row in rows} == {False: 7, True: None}


async def test_the_budget_of_a_team_does_not_change_its_definition(graph: Graph) -> None:
    team_id = await graph.ready_team()
    revision = "execution { revision { id } }"
    first = await graph.mutate("kickoffTeam", revision, teamId=team_id)

    await graph.mutate("updateTeam", "__typename", id=team_id, version=1, monthlyBudget="7")

    assert await graph.mutate("kickoffTeam", revision, teamId=team_id) == first


# ---------------------------------------------------------------- what else a task says of its model and its output

TASK = "task { version maxBudget { amount } qualityPreference outputSchema }"


async def test_a_task_keeps_its_budget_preference_and_schema_until_they_are_taken_away(graph: Graph) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    task_id = await graph.task(
        await graph.team(), maxBudget="0.5", qualityPreference="COST_OPTIMIZED", outputSchema=schema
    )

    async def update(version: int, **values: Any) -> Any:
        payload = await graph.mutate("updateTask", TASK, id=task_id, version=version, **values)
        assert payload["errors"] == []
        return payload["task"]

    kept = {"maxBudget": {"amount": "0.5"}, "qualityPreference": "COST_OPTIMIZED", "outputSchema": schema}
    nothing: dict[str, None] = dict.fromkeys(kept)
    assert await update(1, kind="sum") == {"version": 2, **kept}
    assert await update(2, **nothing) == {"version": 3, **nothing}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (1, "The schema is an object."),
        ("{}", "The schema is an object."),
        ([], "The schema is an object."),
        (False, "The schema is an object."),
        ({"type": "nonsense"}, "This is no JSON Schema (draft 2020-12)."),
        ({"$ref": "https://example.org/schema"}, "References to other documents are not allowed."),
        ({"pattern": "(a+)+$"}, "`pattern` is not allowed."),
        ({"title": "\u0000"}, "The character U+0000 is not allowed."),
        ({"title": "t" * 64_000}, "At most 64000 characters of JSON."),
    ],
    ids=lambda value: str(value)[:30].encode("unicode_escape").decode(),
)
async def test_what_is_no_json_schema_is_refused(graph: Graph, schema: Any, message: str) -> None:
    own = await one_of_each(graph)
    task = {"name": "Another", "description": "Do.", "expectedOutput": "Done."}

    async with nothing_written(graph):
        created = await graph.mutate("createTask", "__typename", teamId=own["Team"], **task, outputSchema=schema)
        updated = await graph.mutate("updateTask", "__typename", id=own["Task"], version=1, outputSchema=schema)

    told = [(error["code"], error["path"], error["message"]) for error in created["errors"]]
    assert told == [("INVALID", ["input", "outputSchema"], message)]
    assert updated["errors"] == created["errors"]


# ---------------------------------------------------------------- kickoffs


async def _spent_team(graph: Graph, database: Database, cost: str) -> str:
    """The id of a team whose only execution has spent so much."""
    team_id = await graph.ready_team()
    worker = await PlayedWorker.on(graph, database, await graph.kickoff(team_id))
    await book(worker, an_entry(worker, cost))
    return team_id


async def _limit(graph: Graph, scope: str, team_id: str, amount: str | None) -> None:
    team = (await graph.query("query($id: ID!) { team(id: $id) { version project { id version } } }", id=team_id))[
        "team"
    ]
    match scope:
        case "TENANT":
            payload = await graph.mutate("updateTenant", "__typename", monthlyBudget=amount)
        case "PROJECT":
            payload = await graph.mutate("updateProject", "__typename", **team["project"], monthlyBudget=amount)
        case _:
            version = team["version"]
            payload = await graph.mutate("updateTeam", "__typename", id=team_id, version=version, monthlyBudget=amount)
    assert payload["errors"] == []


@pytest.mark.parametrize("scope", ["TEAM", "PROJECT", "TENANT"])
async def test_a_kickoff_on_an_exhausted_budget_is_refused_with_the_figures(
    graph: Graph, database: Database, scope: str
) -> None:
    team_id = await _spent_team(graph, database, "0.75")
    await _limit(graph, scope, team_id, "0.5")

    async with nothing_written(graph):
        answer = await graph.query(SHORTFALL, input={"teamId": team_id, "idempotencyKey": "k"})

    [error] = answer["kickoffTeam"]["errors"]
    assert answer["kickoffTeam"]["execution"] is None
    assert error.pop("message").startswith(
        f"The budget of the {scope.lower()} does not suffice: of $0.5 are $0.75 spent"
    )
    assert error == {
        "__typename": "BudgetExceeded",
        "code": "BUDGET_EXCEEDED",
        "path": ["input", "teamId"],
        "suggestion": f"Raise the budget of the {scope.lower()}, or wait for its next period.",
        "scope": scope,
        "limit": {"amount": "0.5"},
        "spent": {"amount": "0.75"},
        "reserved": {"amount": "0"},
        "required": {"amount": "0"},
    }


@pytest.mark.parametrize("amount", ["0.750000000001", None])
async def test_a_kickoff_is_accepted_again_when_the_limit_is_raised(
    graph: Graph, database: Database, amount: str | None
) -> None:
    team_id = await _spent_team(graph, database, "0.75")
    await _limit(graph, "TEAM", team_id, "0.75")
    refused = await graph.mutate("kickoffTeam", "__typename", teamId=team_id, idempotencyKey="k")
    assert [error["code"] for error in refused["errors"]] == ["BUDGET_EXCEEDED"]

    await _limit(graph, "TEAM", team_id, amount)

    assert await graph.kickoff(team_id, idempotencyKey="k")


async def test_an_idempotency_key_finds_its_execution_also_when_the_budget_is_exhausted(
    graph: Graph, database: Database
) -> None:
    team_id = await graph.ready_team()
    first = await graph.kickoff(team_id, idempotencyKey="k")
    worker = await PlayedWorker.on(graph, database, first)
    await book(worker, an_entry(worker, "0.75"))
    await _limit(graph, "TEAM", team_id, "0.5")

    assert await graph.kickoff(team_id, idempotencyKey="k") == first


async def test_another_teams_exhausted_budget_refuses_nothing(graph: Graph, database: Database) -> None:
    await _limit(graph, "TEAM", await _spent_team(graph, database, "0.75"), "0.5")

    assert await graph.kickoff(await graph.ready_team())


async def test_kickoffs_at_once_see_the_same_budget(graph: Graph) -> None:
    """A kickoff reserves nothing: what calls cost is known before each of them only."""
    team_id = await graph.ready_team()
    await _limit(graph, "TEAM", team_id, "0.000000000001")

    assert len(set(await asyncio.gather(*(graph.kickoff(team_id) for _ in range(4))))) == 4
