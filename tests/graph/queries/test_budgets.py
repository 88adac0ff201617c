"""Budgets in the graph: limits, what is spent and left of them, per month or per run."""

import json
from datetime import timedelta
from typing import Any

import pytest

from persistence.engine import Database
from schema.breadth_first import BreadthFirst, NotSimple
from tests.support.graphql import Graph, counted_statements
from tests.support.ledger import an_entry, book, this_month
from tests.support.live import PlayedWorker
from tests.support.things import strangers_things

BUDGET = """budget { limit { amount currency } spent { amount } reserved { amount } remaining { amount }
    utilisation isWarned isExhausted }"""
ALL = f"""query($execution: ID!) {{ execution(id: $execution) {{ {BUDGET} taskExecutions {{ {BUDGET} }}
    team {{ {BUDGET} }} project {{ {BUDGET} tenant {{ {BUDGET} }} }} }} }}"""
TEAMS = f"""{{ tenant {{ {BUDGET} projects(first: 100) {{ nodes {{ {BUDGET} usage {{ calls }}
    teams(first: 100) {{ nodes {{ {BUDGET} usage {{ calls cost {{ amount }} }}
        march: usage(period: {{gte: "2026-03-01T00:00:00Z", lt: "2026-04-01T00:00:00Z"}}) {{ calls }}
        roles {{ usage {{ calls totalTokens }} }}
        executions {{ nodes {{ {BUDGET} taskExecutions {{ {BUDGET} }} }} }} }} }} }} }} }} }}"""


def _budget(limit: str | None, spent: str = "0", remaining: str | None = None, **others: Any) -> dict[str, Any]:
    return {
        "limit": None if limit is None else {"amount": limit, "currency": "USD"},
        "spent": {"amount": spent},
        "reserved": {"amount": "0"},
        "remaining": None if remaining is None else {"amount": remaining},
        "utilisation": None,
        "isWarned": False,
        "isExhausted": False,
        **others,
    }


async def _budgets(graph: Graph, execution: str) -> dict[str, Any]:
    found = (await graph.query(ALL, execution=execution))["execution"]
    return {
        "execution": found["budget"],
        "task": found["taskExecutions"][0]["budget"],
        "team": found["team"]["budget"],
        "project": found["project"]["budget"],
        "tenant": found["project"]["tenant"]["budget"],
    }


async def _team(graph: Graph, project_id: str | None = None, **values: Any) -> str:
    team_id = await graph.team(project_id, **values)
    await graph.task(team_id, roleId=await graph.role(team_id))
    return team_id


async def test_nothing_is_limited_where_no_limit_is_set(graph: Graph) -> None:
    budgets = await _budgets(graph, await graph.kickoff(await graph.ready_team()))

    assert budgets == dict.fromkeys(("execution", "task", "team", "project", "tenant"), _budget(None))


async def test_every_scope_shows_its_own_limit_and_what_is_left_of_it(graph: Graph, database: Database) -> None:
    project = await graph.make("Project", name="Limited", monthlyBudget="40.5")
    team_id = await _team(graph, project["id"], monthlyBudget="20")
    await graph.mutate("updateTenant", "tenant { id }", monthlyBudget="100")
    execution = await graph.kickoff(team_id, maxBudget="10", maxTaskBudget="5")
    worker = await PlayedWorker.on(graph, database, execution)

    await book(worker, an_entry(worker, "0.25"), an_entry(worker, "0.000000000001"))

    spent = "0.250000000001"
    shown = {name: (found["limit"]["amount"], found["spent"]["amount"], found["remaining"]["amount"])
             for name, found in (await _budgets(graph, execution)).items()}  # fmt: skip
    assert shown == {
        "execution": ("10", spent, "9.749999999999"),
        "task": ("5", spent, "4.749999999999"),
        "team": ("20", spent, "19.749999999999"),
        "project": ("40.5", spent, "40.249999999999"),
        "tenant": ("100", spent, "99.749999999999"),
    }


async def test_a_task_has_the_lower_of_its_own_limit_and_the_kickoffs(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    await graph.task(team_id, roleId=role_id, maxBudget="2", position=0)
    await graph.task(team_id, roleId=role_id, maxBudget="4", position=1)
    await graph.task(team_id, roleId=role_id, position=2)

    execution = await graph.kickoff(team_id, maxTaskBudget="3")

    found = await graph.query(
        "query($id: ID!) { execution(id: $id) { taskExecutions { budget { limit { amount } } } } }", id=execution
    )
    limits = [task["budget"]["limit"]["amount"] for task in found["execution"]["taskExecutions"]]
    assert limits == ["2", "3", "3"]


async def test_a_budget_is_exhausted_when_nothing_is_left_and_utilisation_is_the_spent_part(
    graph: Graph, database: Database
) -> None:
    execution = await graph.kickoff(await _team(graph, monthlyBudget="0.5"), maxBudget="1")
    worker = await PlayedWorker.on(graph, database, execution)

    await book(worker, an_entry(worker, "0.75"))

    budgets = await _budgets(graph, execution)
    assert (budgets["team"]["utilisation"], budgets["execution"]["utilisation"]) == (1.5, 0.75)
    assert (budgets["team"]["remaining"], budgets["execution"]["remaining"]) == ({"amount": "0"}, {"amount": "0.25"})
    assert (budgets["team"]["isExhausted"], budgets["execution"]["isExhausted"]) == (True, False)
    assert (budgets["team"]["isWarned"], budgets["execution"]["isWarned"]) == (True, False)
    assert budgets["tenant"] == _budget(None, "0.75")


async def test_months_count_for_themselves_and_runs_do_not_end_with_a_month(graph: Graph, database: Database) -> None:
    execution = await graph.kickoff(await _team(graph, monthlyBudget="1"), maxBudget="10")
    worker = await PlayedWorker.on(graph, database, execution)
    last_month = this_month() - timedelta(microseconds=1)

    await book(worker, an_entry(worker, "0.75", booked_at=last_month), an_entry(worker, "0.25"))

    budgets = await _budgets(graph, execution)
    assert budgets["team"]["spent"] == {"amount": "0.25"}
    assert budgets["execution"]["spent"] == budgets["task"]["spent"] == {"amount": "1"}


async def test_a_strangers_budget_counts_for_nobody_else(graph: Graph, database: Database) -> None:
    worker = await PlayedWorker.on(graph, database, await graph.kickoff(await graph.ready_team()))
    await book(worker, an_entry(worker, "0.75"))
    await strangers_things(graph)

    assert (await graph.query(f"{{ tenant {{ {BUDGET} }} }}"))["tenant"]["budget"] == _budget(None)


async def _populate(graph: Graph, database: Database, teams: int) -> None:
    project = await graph.make("Project", name=f"Project of {teams}", monthlyBudget="10")
    for number in range(teams):
        team_id = await _team(graph, project["id"], monthlyBudget=str(number + 1))
        worker = await PlayedWorker.on(graph, database, await graph.kickoff(team_id))
        await book(worker, an_entry(worker))


@pytest.mark.parametrize("executor", ["breadth first", "ordinary"])
async def test_budgets_and_usage_of_twenty_teams_cost_as_many_statements_as_of_two(
    graph: Graph, database: Database, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    if executor == "ordinary":
        monkeypatch.setattr(BreadthFirst, "run", _give_up)
    await _populate(graph, database, teams=2)
    with counted_statements(graph) as few:
        await graph.query(TEAMS)

    await _populate(graph, database, teams=20)
    with counted_statements(graph) as many:
        found = await graph.query(TEAMS)

    drift = 5 if executor == "ordinary" else 0  # data loaders gather what is asked in one moment; levels drift a little
    assert len(many) <= len(few) + drift <= 20 + drift
    newest = found["tenant"]["projects"]["nodes"][0]
    assert newest["usage"] == {"calls": 20}
    assert [team["usage"] for team in newest["teams"]["nodes"]] == [{"calls": 1, "cost": {"amount": "0.25"}}] * 20
    assert [team["budget"]["limit"]["amount"] for team in newest["teams"]["nodes"]] == [str(20 - i) for i in range(20)]


async def test_both_executors_give_the_same_budgets_and_usage(
    graph: Graph, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _populate(graph, database, teams=2)

    breadth_first = await graph.query(TEAMS)
    monkeypatch.setattr(BreadthFirst, "run", _give_up)
    ordinary = await graph.query(TEAMS)

    assert json.dumps(ordinary) == json.dumps(breadth_first)


async def _give_up(*_: object) -> None:
    raise NotSimple
