"""A reference that is given anew must not be to an archived role; one that was there before stays."""

from typing import Any

import pytest

from tests.support.graphql import Graph


async def an_archived_role(graph: Graph) -> tuple[str, str]:
    """The ids of a team and of a role of it that is archived."""
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    await graph.mutate("archiveRole", "role { id }", id=role_id)
    return team_id, role_id


@pytest.mark.parametrize(
    ("mutation", "reference", "values"),
    [
        ("createTask", "roleId", {"name": "Task", "description": "Do it.", "expectedOutput": "Done."}),
        ("createRole", "supervisorId", {"title": "Writer"}),
    ],
)
async def test_nothing_new_refers_to_an_archived_role(
    graph: Graph, mutation: str, reference: str, values: dict[str, Any]
) -> None:
    team_id, role_id = await an_archived_role(graph)
    thing = mutation.removeprefix("create").lower()

    payload = await graph.mutate(mutation, f"{thing} {{ id }}", teamId=team_id, **{reference: role_id}, **values)

    assert payload[thing] is None
    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("ARCHIVED", ["input", reference])]


async def test_a_team_takes_no_archived_manager(graph: Graph) -> None:
    team_id, role_id = await an_archived_role(graph)

    payload = await graph.mutate("updateTeam", "team { id }", id=team_id, version=1, managerId=role_id)

    assert [(error["code"], error["path"]) for error in payload["errors"]] == [("ARCHIVED", ["input", "managerId"])]


async def test_a_task_whose_role_was_archived_since_can_still_be_edited(graph: Graph) -> None:
    team_id = await graph.team()
    role_id = await graph.role(team_id)
    task_id = await graph.task(team_id, roleId=role_id)
    await graph.mutate("archiveRole", "role { id }", id=role_id)

    payload = await graph.mutate("updateTask", "task { name }", id=task_id, version=1, name="Renamed")

    assert payload == {"task": {"name": "Renamed"}, "errors": []}
