"""Webhooks without a database: their rules, what is sent, how it is signed, and when it is tried again."""

import json
import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from domain.errors import FailureCode, Invalid
from domain.events import (
    EVENT_TYPES,
    ApprovalRequested,
    ExecutionEvent,
    ExecutionFailed,
    TaskCompleted,
    payload_of,
)
from domain.model.approval import ApprovalKind
from domain.model.budget import BudgetScope, Shortfall
from domain.model.identity import (
    DEFAULT_TENANT,
    ApprovalId,
    ExecutionId,
    ProjectId,
    RoleId,
    TaskExecutionId,
    WebhookDeliveryId,
    WebhookId,
)
from domain.model.webhook import (
    ALERTS,
    MAX_URL,
    MILESTONES,
    PING,
    TOO_MANY,
    Webhook,
    WebhookDelivery,
    tellable_events,
)
from domain.services.deliveries import DeliveryRules, body_of, signed
from resolvers.node_ids import node_id
from tests.support.webhooks import is_genuine

PROJECT, EXECUTION, TASK, ROLE = (UUID(int=number) for number in (10, 11, 12, 13))
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
SECRET = "whsec_of-this-test"
DOCUMENT = Path(__file__).parents[2] / "docs" / "webhooks.md"


def a_webhook(**values: Any) -> Webhook:
    given = {"name": "Hook", "url": "https://hooks.example.org/regatta?to=us", "id": WebhookId(UUID(int=9)), **values}
    return Webhook(DEFAULT_TENANT, ProjectId(PROJECT), **given)


def told_of(event: ExecutionEvent) -> dict[str, Any]:
    """What a webhook is sent of this event."""
    delivery = WebhookDelivery(
        DEFAULT_TENANT,
        WebhookId(UUID(int=9)),
        event.type,
        event.execution_id,
        7,
        event.occurred_at,
        event.task_execution_id,
        event.role_id,
        payload_of(event),
    )
    assert delivery.event is not None
    assert payload_of(delivery.event) == payload_of(event)
    document: dict[str, Any] = json.loads(body_of(delivery, a_webhook(), node_id))
    return document


def envelope(**values: Any) -> dict[str, Any]:
    return {"tenant_id": DEFAULT_TENANT, "execution_id": ExecutionId(EXECUTION), "occurred_at": MOMENT, **values}


# ---------------------------------------------------------------- rules


def test_a_webhook_tells_of_the_milestones_unless_somebody_chooses() -> None:
    webhook = a_webhook()

    webhook.check()

    assert webhook.event_types == list(MILESTONES)
    assert set(MILESTONES) <= set(tellable_events())


def test_every_event_but_those_that_come_by_the_dozen_can_be_told_of() -> None:
    a_webhook(event_types=tellable_events()).check()

    assert set(tellable_events()) | TOO_MANY == {*EVENT_TYPES, *ALERTS}
    assert "OutputStreamed" not in tellable_events()


@pytest.mark.parametrize("name", [*sorted(TOO_MANY), "Ping", "ExecutionEvent", "executionCompleted", "", "*"])
def test_what_is_no_event_to_tell_of_is_refused_where_it_stands(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_webhook(event_types=["TaskFailed", name]).check()

    assert [problem.path for problem in refused.value.problems] == [("eventTypes", "1")]


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example.org", "ftp://hooks.example.org", "https://", "https://user:key@hooks.example.org",
        "https://hooks.example.org/a b", "https://hooks.example.org/#part", "https://hooks.example.org:x/",
        f"https://hooks.example.org/{'x' * MAX_URL}", "https://hööks.example.org", "https://h.example.org/\nX: y",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_webhook(url=url).check()

    assert {problem.path for problem in refused.value.problems} == {("url",)}


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(Invalid) as refused:
        a_webhook(name=" ", url="no", event_types=[]).check()

    assert [problem.path for problem in refused.value.problems] == [("name",), ("url",), ("eventTypes",)]


# ---------------------------------------------------------------- what is sent


def test_a_finished_task_is_told_with_names_ids_and_money_as_in_the_graph() -> None:
    event = TaskCompleted(
        **envelope(task_execution_id=TaskExecutionId(TASK), role_id=RoleId(ROLE)),
        name="Märkte",
        attempt=2,
        total_tokens=70,
        cost_amount=Decimal("0.000000000001"),
    )

    assert told_of(event) == {
        "id": f"{EXECUTION}-7",
        "type": "TaskCompleted",
        "createdAt": "2026-01-02T03:04:05.678901+00:00",
        "data": {
            "projectId": node_id("Project", PROJECT),
            "executionId": node_id("Execution", EXECUTION),
            "sequence": 7,
            "taskExecutionId": node_id("TaskExecution", TASK),
            "roleId": node_id("Role", ROLE),
            "name": "Märkte",
            "attempt": 2,
            "totalTokens": 70,
            "cost": {"amount": "0.000000000001", "currency": "USD"},
        },
    }


def test_a_failure_tells_what_was_missing_of_a_budget() -> None:
    missing = Shortfall(BudgetScope.TEAM, Decimal(10), Decimal("9.5"), Decimal(0), Decimal(1))
    event = ExecutionFailed(**envelope(), code=FailureCode.BUDGET_EXCEEDED, message="No money", budget=missing)

    data = told_of(event)["data"]

    assert (data["code"], data["message"], data["taskExecutionId"]) == ("BUDGET_EXCEEDED", "No money", None)
    assert data["budget"]["scope"] == "TEAM"
    assert data["budget"]["spent"] == {"amount": "9.5", "currency": "USD"}


def test_a_question_is_told_with_the_id_of_its_approval() -> None:
    event = ApprovalRequested(
        **envelope(), approval_id=ApprovalId(UUID(int=3)), kind=ApprovalKind.TASK, assignee=None, expires_at=MOMENT
    )

    data = told_of(event)["data"]

    assert data["approvalId"] == node_id("Approval", UUID(int=3))
    assert (data["kind"], data["assignee"], data["expiresAt"]) == ("TASK", None, "2026-01-02T03:04:05.678901Z")


def test_a_ping_tells_of_the_webhook_itself() -> None:
    ping = WebhookDelivery(
        DEFAULT_TENANT,
        WebhookId(UUID(int=9)),
        PING,
        occurred_at=MOMENT,
        id=WebhookDeliveryId(UUID(int=5)),
    )

    assert ping.event is None
    assert json.loads(body_of(ping, a_webhook(), node_id)) == {
        "id": str(UUID(int=5)),
        "type": "Ping",
        "createdAt": MOMENT.isoformat(),
        "data": {"projectId": node_id("Project", PROJECT), "webhookId": node_id("Webhook", UUID(int=9))},
    }


# ---------------------------------------------------------------- signatures


def test_a_signature_is_over_the_moment_and_the_body() -> None:
    header = signed(b'{"id":"1"}', ["whsec_a"], 1_700_000_000)

    # printf '1700000000.{"id":"1"}' | openssl dgst -sha256 -hmac whsec_a
    assert header == "t=1700000000,v1=20c74028e1a9eb12a6f64490f34fab2b96bc022df68059acc133dfd721752f7c"


def test_a_receiver_takes_what_is_signed_with_either_of_two_secrets() -> None:
    header = signed(b"body", [SECRET, "whsec_old"], 1_000)

    assert is_genuine(SECRET, header, b"body", 1_000)
    assert is_genuine("whsec_old", header, b"body", 1_000)


@pytest.mark.parametrize(
    ("secret", "body", "now"),
    [("whsec_other", b"body", 1_000), (SECRET, b"Body", 1_000), (SECRET, b"body", 1_301), (SECRET, b"body", 699)],
)
def test_a_receiver_takes_nothing_that_was_forged_changed_or_kept_for_later(secret: str, body: bytes, now: int) -> None:
    assert not is_genuine(secret, signed(b"body", [SECRET], 1_000), body, now)


def test_a_receiver_does_not_take_another_moment_for_the_signed_one() -> None:
    header = signed(b"body", [SECRET], 1_000).replace("t=1000", "t=1300")

    assert not is_genuine(SECRET, header, b"body", 1_300)


def test_the_documented_receiver_takes_what_is_sent_now_and_nothing_else() -> None:
    [sample] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(sample, names)  # noqa: S102 - our own documentation
    now = int(time.time())

    assert names["is_genuine"](SECRET, signed(b"body", ["whsec_old", SECRET], now), b"body")
    assert not names["is_genuine"](SECRET, signed(b"body", [SECRET], now), b"Body")
    assert not names["is_genuine"](SECRET, signed(b"body", [SECRET], now - 310), b"body")


def test_the_document_names_the_events_that_are_told_by_default_and_those_that_never_are() -> None:
    text = DOCUMENT.read_text("utf-8").replace("\n", " ")

    assert f"Without it these are: {', '.join(MILESTONES)}." in text
    assert all(name in text for name in TOO_MANY)


# ---------------------------------------------------------------- when it is tried again


def test_the_waits_grow_and_end_within_a_day() -> None:
    rules = DeliveryRules()

    longest = [DeliveryRules(jitter=0).wait_after(attempts) for attempts in range(1, 9)]

    assert longest[:5] == [10, 60, 300, 1_800, 7_200]
    assert sum(wait or 0 for wait in longest) < 86_400
    assert rules.wait_after(9) is None
    assert rules.wait_after(10) is None


def test_chance_makes_a_wait_shorter_by_a_fifth_at_most() -> None:
    waits = {DeliveryRules().wait_after(2) for _ in range(1_000)}

    assert len(waits) > 100
    assert all(wait is not None and 48 <= wait <= 60 for wait in waits)


def test_a_new_delivery_of_an_event_has_its_own_id_and_the_same_content() -> None:
    first = WebhookDelivery(DEFAULT_TENANT, WebhookId(UUID(int=9)), "TaskFailed", ExecutionId(EXECUTION), 7, attempts=9)

    again = first.again()

    assert (again.redelivery_of, again.attempts, again.id == first.id) == (first.id, 0, False)
    assert json.loads(body_of(again, a_webhook(), node_id)) == json.loads(body_of(first, a_webhook(), node_id))
