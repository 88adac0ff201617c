"""Usage of roles, teams and projects within a period: exact sums over the ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.engine import Database
from tests.support.graphql import Graph, counted_statements
from tests.support.ledger import an_entry, book, this_month
from tests.support.live import PlayedWorker
from tests.support.things import strangers_things

USAGE = "usage(period: $period) { calls promptTokens completionTokens totalTokens cost { amount } }"
ALL = f"""query($role: ID!, $team: ID!, $project: ID!, $period: MomentFilter) {{
    node(id: $role) {{ ... on Role {{ {USAGE} }} }}
    team(id: $team) {{ {USAGE} }} project(id: $project) {{ {USAGE} }} }}"""
NOTHING = {"calls": 0, "promptTokens": 0, "completionTokens": 0, "totalTokens": 0, "cost": {"amount": "0"}}


async def _played(graph: Graph, database: Database) -> tuple[dict[str, str], PlayedWorker]:
    project = await graph.project()
    team = await graph.team(project)
    role = await graph.role(team)
    await graph.task(team, roleId=role)
    worker = await PlayedWorker.on(graph, database, await graph.kickoff(team))
    return {"project": project, "team": team, "role": role}, worker


def _sum(calls: int, cost: str) -> dict[str, Any]:
    tokens = {"promptTokens": 10 * calls, "completionTokens": 5 * calls, "totalTokens": 15 * calls}
    return {"calls": calls, **tokens, "cost": {"amount": cost}}


async def test_usage_is_the_exact_sum_over_everything_without_a_period(graph: Graph, database: Database) -> None:
    ids, worker = await _played(graph, database)
    long_ago = datetime(2025, 1, 31, tzinfo=UTC)

    await book(
        worker, an_entry(worker, "0.1"), an_entry(worker, "0.2"), an_entry(worker, "0.000000000003", booked_at=long_ago)
    )

    found = await graph.query(ALL, **ids)
    assert list(found.values()) == [{"usage": _sum(3, "0.300000000003")}] * 3


async def test_a_period_begins_with_its_first_moment_and_ends_before_its_last(graph: Graph, database: Database) -> None:
    ids, worker = await _played(graph, database)
    begin, end = this_month(), this_month() + timedelta(hours=1)
    moments = {
        begin - timedelta(microseconds=1): "1",
        begin: "2",
        end - timedelta(microseconds=1): "4",
        end: "8",
    }
    await book(worker, *(an_entry(worker, cost, booked_at=moment) for moment, cost in moments.items()))

    async def cost(**period: str | None) -> set[str]:
        found = await graph.query(ALL, **ids, period=period)
        return {it["usage"]["cost"]["amount"] for it in found.values()}

    assert await cost(gte=begin.isoformat(), lt=end.isoformat()) == {"6"}
    assert await cost(gte=begin.isoformat()) == {"14"}
    assert await cost(lt=begin.isoformat()) == {"1"}
    assert await cost() == await cost(gte=None, lt=None) == {"15"}
    assert await cost(gte=end.isoformat(), lt=begin.isoformat()) == {"0"}


async def test_a_moment_without_a_zone_is_utc(graph: Graph, database: Database) -> None:
    ids, worker = await _played(graph, database)
    await book(worker, an_entry(worker, "1", booked_at=this_month()))
    plain = this_month().replace(tzinfo=None)

    async def calls(gte: datetime) -> int:
        return int((await graph.query(ALL, **ids, period={"gte": gte.isoformat()}))["team"]["usage"]["calls"])

    assert await calls(plain) == 1
    assert await calls(plain + timedelta(microseconds=1)) == 0


async def test_only_the_roles_own_calls_count_for_it(graph: Graph, database: Database) -> None:
    ids, worker = await _played(graph, database)
    idle = await graph.role(ids["team"], title="Idle")
    await book(worker, an_entry(worker))

    assert (await graph.query(ALL, **{**ids, "role": idle}))["node"] == {"usage": NOTHING}


@pytest.mark.parametrize(
    ("name", "moment"), [("gte", "0001-01-01T00:00:00+14:00"), ("lt", "9999-12-31T23:59:59-14:00")]
)
async def test_a_moment_out_of_range_is_told(graph: Graph, name: str, moment: str) -> None:
    team_id = await graph.team()
    query = "query($id: ID!, $period: MomentFilter) { team(id: $id) { usage(period: $period) { calls } } }"

    answer = await graph.answer(query, id=team_id, period={name: moment})

    assert [(error["message"], error["extensions"]) for error in answer["errors"]] == [
        ("This moment is out of range.", {"code": "INVALID", "argument": ["period", name]})
    ]


async def test_each_period_of_all_teams_is_one_statement(graph: Graph) -> None:
    project_id = await graph.project()
    for _ in range(3):
        await graph.team(project_id)
    periods = {"a": '(period: {gte: "2026-01-01T00:00:00Z"})', "b": '(period: {lt: "2026-01-01T00:00:00"})', "c": ""}
    usages = " ".join(f"{alias}: usage{period} {{ calls }}" for alias, period in periods.items())
    query = f"query($id: ID!) {{ project(id: $id) {{ teams {{ nodes {{ {usages} again: usage {{ calls }} }} }} }} }}"

    with counted_statements(graph) as statements:
        await graph.query(query, id=project_id)

    assert len(statements) == 2 + len(periods)  # the project, its teams, and each period once


async def test_what_a_stranger_used_is_not_shown(graph: Graph, database: Database) -> None:
    ids, worker = await _played(graph, database)
    await book(worker, an_entry(worker))
    await strangers_things(graph)

    assert await graph.query(ALL, **ids) == {"node": None, "team": None, "project": None}
