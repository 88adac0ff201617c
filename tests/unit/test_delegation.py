from typing import Any

import pytest

from domain.model.delegation import allowed_for_task, allowed_to, allowed_to_manager, best_suited
from domain.model.identity import DEFAULT_TENANT, TeamId, new_id
from domain.model.role import DelegatesTo, Expertise, Role

TEAM = TeamId(new_id())


def a_role(title: str, supervisor: Role | None = None, **fields: Any) -> Role:
    return Role(DEFAULT_TENANT, TEAM, title, supervisor_id=supervisor.id if supervisor else None, **fields)


def titles(roles: list[Role]) -> list[str]:
    return [role.title for role in roles]


def test_a_role_that_may_not_delegate_reaches_nobody() -> None:
    head = a_role("Head")

    assert allowed_to(head, [head, a_role("Hand", head)], "") == []


def test_subordinates_are_all_below_at_any_depth_and_active() -> None:
    head = a_role("Head", is_delegation_allowed=True)
    lead, gone, other = a_role("Lead", head), a_role("Gone", head, is_active=False), a_role("Other")
    hand = a_role("Hand", lead)

    assert titles(allowed_to(head, [hand, other, head, gone, lead], "")) == ["Hand", "Lead"]
    assert allowed_to(a_role("Nobody", is_delegation_allowed=True), [head, lead, hand], "") == []


def test_anyone_is_every_other_active_role() -> None:
    head = a_role("Head")
    free = a_role("Free", head, is_delegation_allowed=True, delegates_to=DelegatesTo.ANYONE)

    assert titles(allowed_to(free, [head, free, a_role("Gone", is_active=False)], "")) == ["Head"]


@pytest.mark.parametrize(("kind", "reached"), [("research", ["Hand"]), (" Research", ["Hand"]), ("", []), ("law", [])])
def test_a_rule_that_names_kinds_holds_for_those_alone(kind: str, reached: list[str]) -> None:
    head = a_role("Head", is_delegation_allowed=True, delegation_kinds=["Research"])
    roles = [head, a_role("Hand", head)]

    assert titles(allowed_to(head, roles, kind)) == reached
    assert titles(allowed_to_manager(head, roles, kind)) == reached


def test_a_manager_needs_no_permission_and_stays_with_its_subordinates_if_it_has_any() -> None:
    head, other = a_role("Head"), a_role("Other")
    hand = a_role("Hand", head)

    assert titles(allowed_to_manager(head, [head, other, hand], "any")) == ["Hand"]
    assert titles(allowed_to_manager(other, [head, other, hand], "any")) == ["Head", "Hand"]
    assert titles(allowed_to_manager(a_role("Free", delegates_to=DelegatesTo.ANYONE), [head, hand], "")) == [
        "Head",
        "Hand",
    ]


def test_a_task_goes_to_the_role_that_it_is_meant_for_and_to_whom_both_may_hand_it() -> None:
    head = a_role("Head")
    lead, other = a_role("Lead", head, is_delegation_allowed=True), a_role("Other", head)
    hand, outsider = a_role("Hand", lead), a_role("Outsider")
    roles = [head, other, hand, lead, outsider]

    assert titles(allowed_for_task(head, roles, "", lead.id)) == ["Lead", "Hand"]
    assert titles(allowed_for_task(head, roles, "", other.id)) == ["Other"]
    assert titles(allowed_for_task(head, roles, "", outsider.id)) == ["Outsider"]
    assert titles(allowed_for_task(head, roles, "", head.id)) == ["Other", "Hand", "Lead"]
    assert titles(allowed_for_task(head, roles, "", a_role("Gone").id)) == ["Other", "Hand", "Lead"]


def test_the_best_suited_has_most_of_the_named_skills_then_the_highest_expertise() -> None:
    cook = a_role("Cook", skills=["cooking", "wine tasting"])
    novice = a_role("Novice", skills=["law"], expertise=Expertise.JUNIOR)
    lawyer = a_role("Lawyer", skills=["Law", " "], expertise=Expertise.EXPERT)

    assert best_suited([cook, novice, lawyer], "Cooking, and a wine tasting under the law") is cook
    assert best_suited([cook, novice, lawyer], "What does the law say?") is lawyer
    assert best_suited([cook, novice, lawyer], "Lawful?") is lawyer
    assert best_suited([], "anything") is None
