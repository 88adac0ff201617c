"""Tasks that would wait for each other, and roles that would supervise each other."""

from typing import Any

from tests.support.graphql import Graph
from tests.support.things import nothing_written


def _cycle(place: str, what: str, names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "__typename": "Cycle",
            "message": f"These {what} each other: {' → '.join(names)}.",
            "code": "CYCLE",
            "path": ["input", place],
            "suggestion": None,
            "cycle": names,
        }
    ]


async def test_tasks_cannot_wait_for_each_other_and_the_cycle_is_named_in_that_direction(
    graph: Graph,
) -> None:
    team_id = await graph.team()
    first = await graph.task(team_id, name="First")
    second = await graph.task(team_id, name="Second", dependsOn=[first])
    third = await graph.task(team_id, name="Third", dependsOn=[second])

    async with nothing_written(graph):
        payload = await graph.mutate("updateTask", "task { id }", id=first, version=1, dependsOn=[third])

    names = payload["errors"][0]["cycle"]
    waits_for = {"First": "Third", "Third": "Second", "Second": "First"}
    assert len(names) == 4
    assert names[1:] == [waits_for[name] for name in names[:-1]]
    assert payload == {"task": None, "errors": _cycle("dependsOn", "tasks would wait for", names)}


async def test_a_task_cannot_wait_for_itself(graph: Graph) -> None:
    team_id = await graph.team()
    task_id = await graph.task(team_id, name="Only")

    async with nothing_written(graph):
        payload = await graph.mutate("updateTask", "task { id }", id=task_id, version=1, dependsOn=[task_id])

    assert payload["errors"] == _cycle("dependsOn", "tasks would wait for", ["Only", "Only"])


async def test_roles_cannot_supervise_each_other(graph: Graph) -> None:
    team_id = await graph.team()
    lead = await graph.role(team_id, title="Lead")
    writer = await graph.role(team_id, title="Writer", supervisorId=lead)

    async with nothing_written(graph):
        both = await graph.mutate("updateRole", "role { id }", id=lead, version=1, supervisorId=writer)
        itself = await graph.mutate("updateRole", "role { id }", id=lead, version=1, supervisorId=lead)

    names = both["errors"][0]["cycle"]
    assert sorted(names[:-1]) == ["Lead", "Writer"]
    assert names[0] == names[-1]
    assert both["errors"] == _cycle("supervisorId", "roles would supervise", names)
    assert itself["errors"] == _cycle("supervisorId", "roles would supervise", ["Lead", "Lead"])


async def test_no_role_is_put_under_an_archived_one_so_that_a_restore_closes_no_cycle(graph: Graph) -> None:
    team_id = await graph.team()
    lead = await graph.role(team_id, title="Lead")
    writer = await graph.role(team_id, title="Writer", supervisorId=lead)
    await graph.mutate("archiveRole", "role { id }", id=writer)

    async with nothing_written(graph):
        payload = await graph.mutate("updateRole", "role { id }", id=lead, version=1, supervisorId=writer)

    assert [error["code"] for error in payload["errors"]] == ["ARCHIVED"]
    assert (await graph.mutate("restoreRole", "role { id }", id=writer))["errors"] == []
