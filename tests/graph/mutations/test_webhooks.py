"""Webhooks as clients see them: made, changed, tried out; a secret is shown once, deliveries with their event."""

import json
from typing import Any

import pytest

from app.settings import Settings
from app.vault import FernetVault, new_key
from domain.model.identity import DEFAULT_TENANT, WebhookDeliveryId
from domain.model.webhook import MAX_WEBHOOKS, MILESTONES, DeliveryStatus, WebhookDelivery
from domain.ports import Answered
from persistence.deliveries import SqlDeliveries
from resolvers.node_ids import node_id, parse_node_id
from tests.support.graphql import Graph
from tests.support.things import nothing_written, strangers_things, unknown

KEY = new_key()
URL = "https://hooks.example.org/regatta"
SHOWN = "id version name url eventTypes isEnabled disabledReason failingSince archivedAt"
DELIVERY = """
    id status eventType attempts responseStatus responseBody latencySeconds error nextAttemptAt createdAt finishedAt
    event { __typename type sequence } execution { id } webhook { id } redeliveryOf { id }
"""
WEBHOOKS = f"query($id: ID!) {{ project(id: $id) {{ webhooks {{ nodes {{ {SHOWN} }} }} }} }}"
ARCHIVED = "query($id: ID!) { project(id: $id) { webhooks(filter: {isArchived: true}) { nodes { id } } } }"
DELIVERIES = f"""
    query($id: ID!, $filter: WebhookDeliveryFilter) {{ node(id: $id) {{ ... on Webhook {{
        deliveries(filter: $filter) {{ nodes {{ {DELIVERY} }} totalCount }} }} }} }}
"""
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        broadcast_url="memory://",
        pool_size=5,
        secret_key=KEY,
        allowed_private_hosts=("10.0.0.5", "hooks.lan:8080"),
    )


async def made(graph: Graph, project_id: str | None = None, **values: Any) -> dict[str, Any]:
    """The payload of a webhook that has to be accepted."""
    given = {"projectId": project_id or await graph.project(), "name": "Hook", "url": URL, **values}
    payload = await graph.mutate("createWebhook", f"webhook {{ {SHOWN} project {{ id }} }} secret", **given)
    assert payload["errors"] == [], payload["errors"]
    return payload


async def changed(graph: Graph, mutation: str, thing: str = "webhook", **values: Any) -> dict[str, Any]:
    """What a mutation makes of a webhook, that has to be accepted."""
    selection = SHOWN if thing == "webhook" else DELIVERY
    payload = await graph.mutate(mutation, f"{thing} {{ {selection} }}", **values)
    assert payload["errors"] == [], payload["errors"]
    found: dict[str, Any] = payload[thing]
    return found


async def refused(graph: Graph, mutation: str, **values: Any) -> list[tuple[str, list[str]]]:
    """Code and place of every reason for which a mutation is refused; it must write nothing."""
    selection = "delivery { id }" if mutation in {"testWebhook", "redeliverWebhook"} else "webhook { id }"
    async with nothing_written(graph):
        payload = await graph.mutate(mutation, selection, **values)
    return [(error["code"], error["path"]) for error in payload["errors"]]


async def deliveries(graph: Graph, webhook_id: str, **conditions: Any) -> list[dict[str, Any]]:
    data = await graph.query(DELIVERIES, id=webhook_id, filter=conditions or None)
    found: list[dict[str, Any]] = data["node"]["deliveries"]["nodes"]
    assert data["node"]["deliveries"]["totalCount"] == len(found)
    return found


async def answered(graph: Graph, *answers: Answered) -> None:
    """Let a worker send what is due, with these answers for good."""
    store = SqlDeliveries(graph.container.database.pool)
    for answer in answers:
        [outgoing] = await store.claim(1, 1, 60.0)
        status = DeliveryStatus.SUCCEEDED if answer.status == 200 else DeliveryStatus.FAILED
        await store.settle(outgoing.delivery, status, answer, None)


async def a_kicked_off_team(graph: Graph, **values: Any) -> tuple[dict[str, Any], str]:
    """A webhook, and the id of an execution of its project that it is told of."""
    project_id = await graph.project()
    webhook = (await made(graph, project_id, **values))["webhook"]
    team_id = await graph.team(project_id)
    await graph.task(team_id, roleId=await graph.role(team_id))
    return webhook, await graph.kickoff(team_id)


# ---------------------------------------------------------------- making and changing


async def test_a_new_webhook_is_enabled_and_tells_of_the_milestones(graph: Graph) -> None:
    project_id = await graph.project()

    webhook = (await made(graph, project_id))["webhook"]

    assert webhook.pop("project") == {"id": project_id}
    assert webhook == {
        "id": webhook["id"], "version": 1, "name": "Hook", "url": URL, "eventTypes": list(MILESTONES),
        "isEnabled": True, "disabledReason": None, "failingSince": None, "archivedAt": None,
    }  # fmt: skip
    assert (await graph.query(WEBHOOKS, id=project_id))["project"]["webhooks"]["nodes"] == [webhook]
    assert (await graph.query(NODE, id=webhook["id"]))["node"] == {"__typename": "Webhook", "id": webhook["id"]}


async def test_a_secret_is_shown_once_and_stored_encrypted(graph: Graph) -> None:
    first = await made(graph)
    webhook_id = first["webhook"]["id"]
    second = await graph.mutate("rotateWebhookSecret", "webhook { id } secret", id=webhook_id)

    rows = await graph.container.database.pool.fetch("SELECT * FROM webhook_secret ORDER BY created_at")
    binding = f"webhook:{parse_node_id(webhook_id)[1]}"
    stored = [FernetVault([KEY]).unlock(DEFAULT_TENANT, binding, row["ciphertext"]) for row in rows]
    assert stored == [first["secret"], second["secret"]]
    assert [row["expires_at"] is None for row in rows] == [False, True]
    assert len(first["secret"]) > 40
    assert first["secret"].startswith("whsec_")
    fields = await graph.query('{ __type(name: "Webhook") { fields { name } } }')
    assert not [field for field in fields["__type"]["fields"] if "secret" in field["name"].lower()]


async def test_an_old_secret_can_be_ended_at_once_and_only_the_last_one_stays_beside_the_new(graph: Graph) -> None:
    webhook_id = (await made(graph))["webhook"]["id"]

    for _ in range(3):
        payload = await graph.mutate("rotateWebhookSecret", "secret", id=webhook_id, oldValidSeconds=0)
        assert payload["errors"] == []

    pool = graph.container.database.pool
    assert await pool.fetchval("SELECT count(*) FROM webhook_secret") == 2
    assert await pool.fetchval("SELECT count(*) FROM webhook_secret WHERE expires_at <= now()") == 1


async def test_what_is_given_is_changed_and_the_rest_stays(graph: Graph) -> None:
    webhook = (await made(graph))["webhook"]
    given: dict[str, Any] = {
        "name": "Other",
        "url": "https://other.example.org",
        "eventTypes": ["TaskFailed"],
        "isEnabled": False,
    }

    second = await changed(graph, "updateWebhook", id=webhook["id"], version=1, **given)
    third = await changed(graph, "updateWebhook", id=webhook["id"], version=2)

    assert {name: second[name] for name in given} == given
    assert third == {**second, "version": 3}


async def test_enabling_forgets_why_it_was_disabled(graph: Graph) -> None:
    webhook = (await made(graph))["webhook"]
    await graph.container.database.pool.execute(
        "UPDATE webhook SET is_enabled = false, disabled_reason = 'No delivery succeeded', failing_since = now()"
    )

    renamed = await changed(graph, "updateWebhook", id=webhook["id"], version=1, name="Other")
    enabled = await changed(graph, "updateWebhook", id=webhook["id"], version=2, isEnabled=True)

    assert (renamed["isEnabled"], renamed["disabledReason"]) == (False, "No delivery succeeded")
    assert (enabled["isEnabled"], enabled["disabledReason"], enabled["failingSince"]) == (True, None, None)


async def test_an_archived_webhook_is_out_of_use_until_it_is_restored(graph: Graph) -> None:
    project_id = await graph.project()
    webhook = (await made(graph, project_id))["webhook"]

    archived = await changed(graph, "archiveWebhook", id=webhook["id"])
    again = await changed(graph, "archiveWebhook", id=webhook["id"])
    listed = (await graph.query(WEBHOOKS, id=project_id))["project"]["webhooks"]["nodes"]
    asked_for = (await graph.query(ARCHIVED, id=project_id))["project"]["webhooks"]["nodes"]
    for mutation, values in (
        ("updateWebhook", {"version": 2, "name": "Other"}),
        ("rotateWebhookSecret", {}),
        ("testWebhook", {}),
    ):
        assert await refused(graph, mutation, id=webhook["id"], **values) == [("ARCHIVED", ["input", "id"])]
    restored = await changed(graph, "restoreWebhook", id=webhook["id"])

    assert archived["archivedAt"] is not None
    assert again == archived
    assert (listed, asked_for) == ([], [{"id": webhook["id"]}])
    assert (restored["archivedAt"], restored["version"]) == (None, 3)


async def test_an_archived_name_is_free_again_and_restoring_then_is_refused(graph: Graph) -> None:
    project_id = await graph.project()
    webhook = (await made(graph, project_id))["webhook"]
    await changed(graph, "archiveWebhook", id=webhook["id"])

    await made(graph, project_id)

    assert [code for code, _ in await refused(graph, "restoreWebhook", id=webhook["id"])] == ["NAME_TAKEN"]


@pytest.mark.parametrize("url", ["http://10.0.0.5/hook", "https://10.0.0.5:9/hook", "http://hooks.lan:8080/"])
async def test_a_private_host_that_the_operator_allows_is_taken_without_tls_too(graph: Graph, url: str) -> None:
    assert (await made(graph, url=url))["webhook"]["url"] == url


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.org/", "https://10.0.0.6/", "http://10.0.0.6/", "https://127.0.0.1/", "https://localhost/",
     "http://hooks.lan/", "http://hooks.lan:81/", "https://[::1]/", "ftp://10.0.0.5/", "hooks", "https://a:b@c.org"],
)  # fmt: skip
async def test_what_leads_nowhere_or_inside_is_refused(graph: Graph, url: str) -> None:
    project_id, webhook = await graph.project(), (await made(graph))["webhook"]

    assert await refused(graph, "createWebhook", projectId=project_id, name="New", url=url) == [
        ("INVALID", ["input", "url"])
    ]
    assert await refused(graph, "updateWebhook", id=webhook["id"], version=1, url=url) == [
        ("INVALID", ["input", "url"])
    ]


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ({"name": " "}, [["name"]]),
        ({"eventTypes": []}, [["eventTypes"]]),
        ({"eventTypes": ["OutputStreamed"]}, [["eventTypes", "0"]]),
        ({"eventTypes": ["TaskFailed", "Nothing"]}, [["eventTypes", "1"]]),
        ({"eventTypes": ["TaskFailed"] * 100}, [["eventTypes"]]),
        ({"eventTypes": None}, [["eventTypes"]]),
        ({"isEnabled": None}, [["isEnabled"]]),
    ],
)
async def test_what_breaks_a_rule_is_refused_at_its_place(
    graph: Graph, values: dict[str, Any], places: list[list[str]]
) -> None:
    project_id, webhook = await graph.project(), (await made(graph))["webhook"]
    expected = [("INVALID", ["input", *place]) for place in places]

    assert await refused(graph, "createWebhook", **{"projectId": project_id, "name": "N", "url": URL, **values}) == (
        expected
    )
    assert await refused(graph, "updateWebhook", id=webhook["id"], version=1, **values) == expected


@pytest.mark.parametrize("seconds", [-1, 604_801, None])
async def test_an_old_secret_is_valid_for_a_week_at_most(graph: Graph, seconds: float | None) -> None:
    webhook = (await made(graph))["webhook"]

    assert await refused(graph, "rotateWebhookSecret", id=webhook["id"], oldValidSeconds=seconds) == [
        ("INVALID", ["input", "oldValidSeconds"])
    ]


async def test_a_name_is_unique_in_its_project(graph: Graph) -> None:
    project_id = await graph.project()
    await made(graph, project_id)
    other = (await made(graph, project_id, name="Other"))["webhook"]
    await made(graph)

    taken = [("NAME_TAKEN", ["input", "name"])]
    assert await refused(graph, "createWebhook", projectId=project_id, name="Hook", url=URL) == taken
    assert [code for code, _ in await refused(graph, "updateWebhook", id=other["id"], version=1, name="Hook")] == [
        "NAME_TAKEN"
    ]


async def test_a_project_has_so_many_webhooks_at_most(graph: Graph) -> None:
    project_id = await graph.project()
    every = [(await made(graph, project_id, name=f"Hook {number}"))["webhook"] for number in range(MAX_WEBHOOKS)]

    too_many = [("INVALID", ["input", "projectId"])]
    assert await refused(graph, "createWebhook", projectId=project_id, name="More", url=URL) == too_many
    await changed(graph, "archiveWebhook", id=every[0]["id"])
    await made(graph, project_id, name="More")
    assert [code for code, _ in await refused(graph, "restoreWebhook", id=every[0]["id"])] == ["INVALID"]


async def test_nothing_is_made_in_an_archived_or_unknown_project(graph: Graph) -> None:
    project_id = await graph.project()
    await graph.mutate("archiveProject", "project { id }", id=project_id)

    place = ["input", "projectId"]
    assert await refused(graph, "createWebhook", projectId=project_id, name="N", url=URL) == [("ARCHIVED", place)]
    assert await refused(graph, "createWebhook", projectId=unknown("Project"), name="N", url=URL) == [
        ("NOT_FOUND", place)
    ]


async def test_a_newer_version_is_not_overwritten(graph: Graph) -> None:
    webhook = (await made(graph))["webhook"]
    await changed(graph, "updateWebhook", id=webhook["id"], version=1, name="Other")

    assert await refused(graph, "updateWebhook", id=webhook["id"], version=1, name="Mine") == [
        ("STALE_VERSION", ["input", "version"])
    ]


@pytest.mark.parametrize(
    ("mutation", "values"),
    [("updateWebhook", {"version": 1, "name": "Mine"}), ("archiveWebhook", {}), ("restoreWebhook", {}),
     ("rotateWebhookSecret", {}), ("testWebhook", {})],
)  # fmt: skip
async def test_what_belongs_to_another_tenant_is_unknown(graph: Graph, mutation: str, values: dict[str, Any]) -> None:
    webhook = (await made(graph))["webhook"]
    queued = await changed(graph, "testWebhook", "delivery", id=webhook["id"])
    await strangers_things(graph)

    for identifier in (webhook["id"], unknown("Webhook"), unknown("Team"), "nonsense"):
        assert await refused(graph, mutation, id=identifier, **values) == [("NOT_FOUND", ["input", "id"])]
    assert await refused(graph, "redeliverWebhook", deliveryId=queued["id"]) == [("NOT_FOUND", ["input", "deliveryId"])]
    for identifier in (webhook["id"], queued["id"]):
        assert (await graph.query(NODE, id=identifier))["node"] is None


async def test_without_a_key_of_the_deployment_no_webhook_is_made(graph: Graph) -> None:
    project_id = await graph.project()
    graph.container.services.webhooks.vault = FernetVault()

    async with nothing_written(graph):
        payload = await graph.mutate("createWebhook", "webhook { id } secret", projectId=project_id, name="N", url=URL)

    [error] = payload["errors"]
    assert (error["code"], payload["secret"]) == ("UNAVAILABLE", None)
    assert "REGATTA_SECRET_KEY" in error["suggestion"]


# ---------------------------------------------------------------- deliveries


async def test_a_kickoff_is_told_with_its_event(graph: Graph) -> None:
    webhook, execution_id = await a_kicked_off_team(graph)

    [pending] = await deliveries(graph, webhook["id"])
    await answered(graph, Answered(0.25, 200, "Thanks"))
    [sent] = await deliveries(graph, webhook["id"])

    assert pending["event"] == {"__typename": "ExecutionQueued", "type": "ExecutionQueued", "sequence": 1}
    assert (pending["execution"], pending["webhook"]) == ({"id": execution_id}, {"id": webhook["id"]})
    assert (pending["status"], pending["attempts"], pending["finishedAt"]) == ("PENDING", 0, None)
    assert pending["nextAttemptAt"] <= pending["createdAt"]
    assert (sent["status"], sent["attempts"], sent["nextAttemptAt"]) == ("SUCCEEDED", 1, None)
    assert (sent["responseStatus"], sent["responseBody"], sent["latencySeconds"]) == (200, "Thanks", 0.25)
    assert sent["finishedAt"] is not None
    assert (await graph.query(NODE, id=sent["id"]))["node"] == {"__typename": "WebhookDelivery", "id": sent["id"]}


async def test_a_failed_event_is_sent_again_by_request(graph: Graph) -> None:
    webhook, execution_id = await a_kicked_off_team(graph)
    await answered(graph, Answered(10.0, error="No answer within 10 seconds."))
    [failed] = await deliveries(graph, webhook["id"])

    again = await changed(graph, "redeliverWebhook", "delivery", deliveryId=failed["id"])
    twice = await changed(graph, "redeliverWebhook", "delivery", deliveryId=failed["id"])
    itself = await changed(graph, "redeliverWebhook", "delivery", deliveryId=again["id"])

    assert (failed["status"], failed["error"]) == ("FAILED", "No answer within 10 seconds.")
    assert (again["status"], again["redeliveryOf"], again["event"]) == (
        "PENDING",
        {"id": failed["id"]},
        failed["event"],
    )
    assert again["execution"] == {"id": execution_id}
    assert twice == itself == again
    assert await deliveries(graph, webhook["id"]) == [again, failed]
    assert await deliveries(graph, webhook["id"], status={"in": ["FAILED"]}) == [failed]
    assert await deliveries(graph, webhook["id"], eventType={"eq": "Ping"}) == []


async def test_nothing_is_sent_again_to_a_webhook_that_is_disabled_or_archived(graph: Graph) -> None:
    webhook, _ = await a_kicked_off_team(graph)
    await answered(graph, Answered(0.1, 500))
    [failed] = await deliveries(graph, webhook["id"])

    await changed(graph, "updateWebhook", id=webhook["id"], version=1, isEnabled=False)
    assert await refused(graph, "redeliverWebhook", deliveryId=failed["id"]) == [("CONFLICT", ["input", "deliveryId"])]
    await changed(graph, "archiveWebhook", id=webhook["id"])
    assert await refused(graph, "redeliverWebhook", deliveryId=failed["id"]) == [("ARCHIVED", ["input", "deliveryId"])]


async def test_an_unknown_delivery_is_not_sent_again(graph: Graph) -> None:
    webhook = (await made(graph))["webhook"]

    for identifier in (node_id("WebhookDelivery", WebhookDeliveryId(unknown_uuid())), webhook["id"], "nonsense"):
        assert await refused(graph, "redeliverWebhook", deliveryId=identifier) == [
            ("NOT_FOUND", ["input", "deliveryId"])
        ]


def unknown_uuid() -> Any:
    return parse_node_id(unknown("WebhookDelivery"))[1]


async def test_a_test_is_a_ping_without_an_event_also_while_disabled(graph: Graph) -> None:
    webhook = (await made(graph, isEnabled=False))["webhook"]

    ping = await changed(graph, "testWebhook", "delivery", id=webhook["id"])
    again = await changed(graph, "testWebhook", "delivery", id=webhook["id"])
    await answered(graph, Answered(0.1, 200))
    fresh = await changed(graph, "testWebhook", "delivery", id=webhook["id"])

    assert (ping["eventType"], ping["event"], ping["execution"]) == ("Ping", None, None)
    assert again == ping
    assert fresh["id"] != ping["id"]


async def test_pages_of_deliveries_follow_each_other(graph: Graph) -> None:
    webhook_id = (await made(graph))["webhook"]["id"]
    kept = [
        WebhookDelivery(DEFAULT_TENANT, parse_node_id(webhook_id)[1], "Ping", status=DeliveryStatus.SUCCEEDED)  # type: ignore[arg-type]  # an id
        for _ in range(5)
    ]
    async with graph.container.services.webhooks.units(DEFAULT_TENANT) as unit:
        for delivery in kept:
            await unit.webhooks.queue(delivery)
        await unit.commit()
    page = """query($id: ID!, $after: String) { node(id: $id) { ... on Webhook {
        deliveries(first: 2, after: $after) { nodes { id } pageInfo { endCursor hasNextPage } } } } }"""

    found: list[str] = []
    after, more = None, True
    while more:
        part = (await graph.query(page, id=webhook_id, after=after))["node"]["deliveries"]
        found += [node["id"] for node in part["nodes"]]
        after, more = part["pageInfo"]["endCursor"], part["pageInfo"]["hasNextPage"]

    assert found == [node_id("WebhookDelivery", delivery.id) for delivery in reversed(kept)]


async def test_no_answer_but_that_of_making_it_has_the_secret(graph: Graph) -> None:
    project_id = await graph.project()
    payload = await made(graph, project_id)
    webhook_id = payload["webhook"]["id"]
    ping = await changed(graph, "testWebhook", "delivery", id=webhook_id)

    told = [
        await changed(graph, "updateWebhook", id=webhook_id, version=1, name="Other"),
        await graph.query(WEBHOOKS, id=project_id),
        await deliveries(graph, webhook_id),
        ping,
        await changed(graph, "archiveWebhook", id=webhook_id),
    ]

    assert payload["secret"] not in json.dumps(told)
