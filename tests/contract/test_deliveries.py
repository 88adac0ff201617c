"""Deliveries from the stored event to the receiver, on a real database and over real connections on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.vault import FernetVault, new_key
from app.webhook_sender import KEPT_BYTES, HttpWebhookClient
from domain.errors import FailureCode, RunFailed, Unavailable
from domain.events import ExecutionEvent, OutputStreamed, TaskCompleted, TaskStarted
from domain.model.addresses import PrivateHosts
from domain.model.execution import Execution, TaskExecution
from domain.model.identity import DEFAULT_TENANT, ExecutionId, TaskExecutionId, WebhookId, new_id, utc_now
from domain.model.page import PageRequest
from domain.model.webhook import DeliveryStatus, Webhook, WebhookDelivery
from domain.ports import Answered
from domain.services.deliveries import DeliverWebhooks, DeliveryRules
from domain.services.webhooks import Revealed, Webhooks
from persistence.deliveries import SqlDeliveries
from persistence.engine import Database
from persistence.reader import SqlReader
from persistence.rotation import reencrypt
from persistence.run_store import SqlRunStore
from persistence.unit_of_work import SqlUnitsOfWork
from resolvers.node_ids import node_id
from tests.support.fakes import a_team_with_tasks
from tests.support.webhooks import Received, Receiver, answering, held
from tests.support.worlds import SqlWorld

KEY = new_key()
SOON = 30.0  # seconds after which something did not happen
# A round ends when all that is left waits for what is under way: those who count on one round must not hurry.
AT_ONCE = DeliveryRules(waits=(0.0, 0.0), patience_seconds=SOON, round_seconds=SOON)
LONG = replace(AT_ONCE, waits=(3_600.0,))
LEASE = 60.0


@dataclass
class Outbox:
    """A project with an execution, and the eyes and hands of everybody on its webhooks."""

    database: Database
    execution: Execution
    task: TaskExecution
    service: Webhooks
    store: SqlDeliveries
    client: HttpWebhookClient

    async def webhook(self, url: str, name: str = "Hook", **values: Any) -> Revealed:
        return await self.service.create(Webhook(DEFAULT_TENANT, self.execution.project_id, name, url, **values))

    async def store_events(self, *events: ExecutionEvent, execution: Execution | None = None) -> None:
        """Store events in one unit of work, as a mutation does."""
        owner = execution or self.execution
        async with SqlUnitsOfWork(self.database.engine)(DEFAULT_TENANT) as unit:
            await unit.executions.lock(owner.id)
            await unit.executions.append_events(list(events))
            await unit.commit()

    async def deliveries(self, webhook: Webhook | None = None) -> Sequence[WebhookDelivery]:
        """All there are, or those of a webhook, oldest first."""
        rows = await self.database.pool.fetch(
            "SELECT tenant_id, id FROM webhook_delivery ORDER BY created_at, sequence"
        )
        reader = SqlReader(self.database.pool)
        found = await reader.by_ids(WebhookDelivery, DEFAULT_TENANT, [row["id"] for row in rows])
        every = [found[row["id"]] for row in rows if row["id"] in found]
        return [each for each in every if webhook is None or each.webhook_id == webhook.id]

    async def stored(self, webhook_id: WebhookId) -> Webhook:
        return (await SqlReader(self.database.pool).by_ids(Webhook, DEFAULT_TENANT, [webhook_id]))[webhook_id]

    def sender(self, rules: DeliveryRules = AT_ONCE, client: Any = None, key: str = KEY) -> DeliverWebhooks:
        return DeliverWebhooks(self.store, client or self.client, FernetVault([key]), node_id, rules)

    async def deliver(self, rules: DeliveryRules = AT_ONCE) -> int:
        """Send what is due, and wait for the answers."""
        sender = self.sender(rules)
        begun = await sender.deliver()
        await sender.close(SOON)
        return begun

    def done(self, name: str = "Task", execution: Execution | None = None) -> TaskCompleted:
        return TaskCompleted(
            tenant_id=DEFAULT_TENANT,
            execution_id=(execution or self.execution).id,
            name=name,
            attempt=1,
            total_tokens=1,
            cost_amount=Decimal(0),
        )


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.started() as receiver:
        yield receiver


@pytest.fixture
async def outbox(database: Database) -> AsyncIterator[Outbox]:
    execution, tasks, snapshot = a_team_with_tasks("only")
    await SqlWorld(database).add(execution, tasks, snapshot)
    private = PrivateHosts(["127.0.0.1", "hooks.test"])
    client = HttpWebhookClient(private, seconds=SOON)
    service = Webhooks(SqlUnitsOfWork(database.engine), FernetVault([KEY]), private)
    yield Outbox(database, execution, tasks[0], service, SqlDeliveries(database.pool), client)
    await client.close()


async def another_execution(outbox: Outbox) -> Execution:
    """Of the same project and team."""
    other = replace(outbox.execution, id=ExecutionId(new_id()))
    task = replace(outbox.task, id=TaskExecutionId(new_id()), execution_id=other.id)
    async with SqlUnitsOfWork(outbox.database.engine)(DEFAULT_TENANT) as unit:
        await unit.executions.add(other, [task])
        await unit.commit()
    return other


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - what a receiver saw has no event
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- from the event into the outbox


async def test_what_a_mutation_and_what_a_worker_stores_is_queued_for_those_who_asked_for_it(outbox: Outbox) -> None:
    every = (await outbox.webhook("https://a.example.org", "All")).webhook
    tasks = (await outbox.webhook("https://b.example.org", "Tasks", event_types=["TaskCompleted"])).webhook

    await outbox.store_events(outbox.done("one"))
    place = (await SqlWorld(outbox.database).admit(outbox.execution.id), "w1")
    await SqlRunStore(outbox.database.pool).give_up(
        DEFAULT_TENANT, outbox.execution.id, RunFailed(FailureCode.WORKER_LOST, "Lost"), place
    )

    found = await outbox.deliveries(every)
    assert [(each.event_type, each.sequence) for each in found] == [("TaskCompleted", 1), ("ExecutionFailed", 2)]
    assert [each.event_type for each in await outbox.deliveries(tasks)] == ["TaskCompleted"]
    stored = await SqlReader(outbox.database.pool).events(DEFAULT_TENANT, outbox.execution.id, 0, 10)
    assert [each.event for each in found] == list(stored)
    assert {(each.status, each.attempts) for each in found} == {(DeliveryStatus.PENDING, 0)}


async def test_many_events_in_one_statement_are_queued_in_their_order(outbox: Outbox) -> None:
    hook = (await outbox.webhook("https://a.example.org")).webhook
    names = [f"task {number}" for number in range(50)]

    await outbox.store_events(*map(outbox.done, names))

    found = await outbox.deliveries(hook)
    assert [each.payload["name"] for each in found] == names
    assert [each.sequence for each in found] == list(range(1, 51))


async def test_nobody_is_told_of_what_was_not_committed(outbox: Outbox) -> None:
    await outbox.webhook("https://a.example.org")

    async with SqlUnitsOfWork(outbox.database.engine)(DEFAULT_TENANT) as unit:
        await unit.executions.append_events([outbox.done()])

    assert await outbox.deliveries() == []


async def test_only_enabled_webhooks_of_the_project_and_the_chosen_types_are_told(outbox: Outbox) -> None:
    other, tasks, snapshot = a_team_with_tasks("only")
    await SqlWorld(outbox.database).add(other, tasks, snapshot)
    await outbox.service.create(Webhook(DEFAULT_TENANT, other.project_id, "Hook", "https://a.example.org"))
    await outbox.webhook("https://a.example.org", "Off", is_enabled=False)
    archived = await outbox.webhook("https://a.example.org", "Gone")
    await outbox.service.archive(DEFAULT_TENANT, archived.webhook.id)
    told = (await outbox.webhook("https://a.example.org", "On")).webhook
    envelope: dict[str, Any] = {"tenant_id": DEFAULT_TENANT, "execution_id": outbox.execution.id}

    await outbox.store_events(
        OutputStreamed(**envelope, call=1, text="some"),
        TaskStarted(**envelope, name="one", attempt=1, model="m"),
        outbox.done("one"),
    )

    assert [(each.webhook_id, each.sequence) for each in await outbox.deliveries()] == [(told.id, 3)]


async def test_a_webhook_of_another_tenant_hears_nothing(outbox: Outbox) -> None:
    hook = (await outbox.webhook("https://a.example.org")).webhook
    connection = await asyncpg.connect(**_owner(outbox.database))
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("INSERT INTO tenant (id, name, created_at) VALUES ($1, 'Other', now())", UUID(int=2))
    await connection.execute("UPDATE webhook SET tenant_id = $1 WHERE id = $2", UUID(int=2), hook.id)
    await connection.close()

    await outbox.store_events(outbox.done())

    assert await outbox.database.pool.fetch("SELECT id FROM webhook_delivery") == []


def _owner(database: Database) -> dict[str, Any]:
    """How the database's owner connects: the application may not move rows."""
    url = database.engine.url
    host = url.query.get("host") or url.host
    return {"host": host, "port": url.port, "user": url.username, "password": url.password, "database": url.database}


# ---------------------------------------------------------------- to the receiver


async def test_an_event_arrives_signed_and_the_answer_is_kept(outbox: Outbox, receiver: Receiver) -> None:
    made = await outbox.webhook(receiver.url("/hook?to=us"))
    receiver.answers["/hook?to=us"] = answering(201, b"Thanks")
    await outbox.store_events(outbox.done("Märkte"))

    assert await outbox.deliver() == 1

    [request], [delivery] = receiver.received, await outbox.deliveries()
    assert request.is_from(made.secret)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["regatta-webhook-id"] == node_id("Webhook", made.webhook.id)
    assert request.headers["regatta-delivery-id"] == node_id("WebhookDelivery", delivery.id)
    assert (request.type, request.json["data"]["name"]) == ("TaskCompleted", "Märkte")
    assert request.json["data"]["executionId"] == node_id("Execution", outbox.execution.id)
    assert (delivery.status, delivery.attempts, delivery.response_status) == (DeliveryStatus.SUCCEEDED, 1, 201)
    assert (delivery.response_body, delivery.error, delivery.next_attempt_at) == ("Thanks", None, None)
    assert delivery.latency_seconds is not None
    assert delivery.latency_seconds > 0
    assert delivery.finished_at is not None
    assert await outbox.deliver() == 0
    assert len(receiver.received) == 1


async def test_what_fails_is_sent_again_with_the_same_id_until_it_succeeds(outbox: Outbox, receiver: Receiver) -> None:
    hook = (await outbox.webhook(receiver.url())).webhook
    receiver.answers["/hook"] = answering(500, b"broken\x00")
    await outbox.store_events(outbox.done())

    await outbox.deliver(LONG)
    [failed], failing = await outbox.deliveries(), await outbox.stored(hook.id)
    early = await outbox.deliver()
    await outbox.database.pool.execute("UPDATE webhook_delivery SET next_attempt_at = now()")
    del receiver.answers["/hook"]
    await outbox.deliver(LONG)

    assert early == 0
    assert (failed.status, failed.attempts, failed.response_status) == (DeliveryStatus.PENDING, 1, 500)
    assert failed.response_body == "broken\ufffd"
    assert failed.next_attempt_at is not None
    assert timedelta(seconds=2_880) < failed.next_attempt_at - failed.created_at < timedelta(seconds=3_700)
    assert failing.failing_since is not None
    [first, second] = receiver.received
    assert first.json == second.json
    [done] = await outbox.deliveries()
    assert (done.status, done.attempts, done.response_status) == (DeliveryStatus.SUCCEEDED, 2, 204)
    assert (await outbox.stored(hook.id)).failing_since is None


async def test_after_the_last_attempt_it_has_failed_and_can_be_sent_by_request(
    outbox: Outbox, receiver: Receiver
) -> None:
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = answering(503)
    await outbox.store_events(outbox.done())

    begun = [await outbox.deliver() for _ in range(4)]
    [failed] = await outbox.deliveries()
    del receiver.answers["/hook"]
    again = await outbox.service.redeliver(DEFAULT_TENANT, failed.id)
    twice = await outbox.service.redeliver(DEFAULT_TENANT, failed.id)
    await outbox.deliver()

    assert sum(begun) == 3
    assert (failed.status, failed.attempts, failed.next_attempt_at) == (DeliveryStatus.FAILED, 3, None)
    assert failed.finished_at is not None
    assert twice.id == again.id
    [kept, sent] = await outbox.deliveries()
    assert kept == failed
    assert (sent.status, sent.redelivery_of, sent.event) == (DeliveryStatus.SUCCEEDED, failed.id, failed.event)
    assert len({request.json["id"] for request in receiver.received}) == 1
    assert len({request.headers["regatta-delivery-id"] for request in receiver.received}) == 2


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 304, 400, 410])
async def test_only_what_begins_with_a_2_is_success_and_no_redirect_is_followed(
    outbox: Outbox, receiver: Receiver, status: int
) -> None:
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = answering(status, b"", f"Location: {receiver.url('/elsewhere')}")
    await outbox.store_events(outbox.done())

    await outbox.deliver(LONG)

    [delivery] = await outbox.deliveries()
    assert (delivery.status, delivery.response_status) == (DeliveryStatus.PENDING, status)
    assert [request.path for request in receiver.received] == ["/hook"]


async def test_an_answer_is_read_to_a_limit(outbox: Outbox, receiver: Receiver) -> None:
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = answering(200, b"x" * 5_000_000)
    await outbox.store_events(outbox.done())

    await outbox.deliver()

    [delivery] = await outbox.deliveries()
    assert (delivery.status, delivery.response_body) == (DeliveryStatus.SUCCEEDED, "x" * KEPT_BYTES)


async def garbage(_: Received) -> bytes:
    return b"Hello, is this HTTP?\r\n\r\n"


async def hang_up(_: Received) -> bytes:
    return b""


@pytest.mark.parametrize("answer", [garbage, hang_up])
async def test_what_is_no_answer_is_a_failure_that_names_its_class(
    outbox: Outbox, receiver: Receiver, answer: Any
) -> None:
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = answer
    await outbox.store_events(outbox.done())

    await outbox.deliver(LONG)

    [delivery] = await outbox.deliveries()
    assert (delivery.status, delivery.response_status) == (DeliveryStatus.PENDING, None)
    assert delivery.error == "The request failed (RemoteProtocolError)."


class Hurried:
    """Waits for /slow a moment only; for others as long as it takes on a slow machine, too."""

    def __init__(self, patient: HttpWebhookClient) -> None:
        self.patient = patient
        self.brief = HttpWebhookClient(PrivateHosts(["127.0.0.1"]), seconds=3.0)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        return await (self.brief if url.endswith("/slow") else self.patient).post(url, headers, body)

    async def warm_up(self, receiver: Receiver) -> None:
        """Whatever a first request has to make: the moment is not for that."""
        while (await self.brief.post(receiver.url("/warm"), {}, b"{}")).status != 204:
            pass


async def test_who_does_not_answer_in_time_holds_nobody_else_up(outbox: Outbox, receiver: Receiver) -> None:
    released = asyncio.Event()
    slow = (await outbox.webhook(receiver.url("/slow"), "Slow")).webhook
    quick = (await outbox.webhook(receiver.url("/quick"), "Quick")).webhook
    receiver.answers["/slow"] = held(released)
    others = [await another_execution(outbox) for _ in range(10)]
    client = Hurried(outbox.client)
    await client.warm_up(receiver)
    sender = outbox.sender(DeliveryRules(waits=LONG.waits, most=5, most_each=4), client)
    for execution in others:
        await outbox.store_events(outbox.done(execution=execution), execution=execution)

    for _ in range(3):
        await sender.deliver()
    await eventually(lambda: [request.path for request in receiver.received].count("/quick") == 10)
    held_up = [request.path for request in receiver.received].count("/slow")
    await sender.close(SOON)
    await client.brief.close()

    assert held_up >= 4
    assert {each.status for each in await outbox.deliveries(quick)} == {DeliveryStatus.SUCCEEDED}
    waiting = [each for each in await outbox.deliveries(slow) if each.attempts]
    assert {(each.status, each.error) for each in waiting} == {(DeliveryStatus.PENDING, "No answer within 3 seconds.")}


async def test_one_webhook_has_few_requests_at_once_over_all_workers(outbox: Outbox) -> None:
    await outbox.webhook("https://a.example.org")
    for execution in [await another_execution(outbox) for _ in range(9)]:
        await outbox.store_events(outbox.done(execution=execution), execution=execution)

    claims = await asyncio.gather(*(outbox.store.claim(10, 4, LEASE) for _ in range(5)))

    assert sorted(len(claimed) for claimed in claims) == [0, 0, 0, 0, 4]
    [some] = [claimed for claimed in claims if claimed]
    await outbox.store.settle(some[0].delivery, DeliveryStatus.SUCCEEDED, Answered(0.1, 200), None)
    assert len(await outbox.store.claim(10, 4, LEASE)) == 1


async def test_nobody_takes_more_than_there_is_room_for(outbox: Outbox) -> None:
    for number in range(8):
        await outbox.webhook("https://a.example.org", f"Hook {number}")
    await outbox.store_events(outbox.done())

    first, second = await outbox.store.claim(3, 4, LEASE), await outbox.store.claim(10, 4, LEASE)

    assert (len(first), len(second)) == (3, 5)
    assert len({outgoing.delivery.id for outgoing in [*first, *second]}) == 8


# ---------------------------------------------------------------- order


async def test_the_events_of_an_execution_arrive_one_after_the_other(outbox: Outbox, receiver: Receiver) -> None:
    await outbox.webhook(receiver.url())
    other = await another_execution(outbox)
    for number in range(10):
        await outbox.store_events(outbox.done(f"{number}"), outbox.done(f"{number}b"))
        await outbox.store_events(outbox.done(f"other {number}", other), execution=other)

    begun = 0
    async with asyncio.timeout(SOON):
        while begun < 30:
            begun += await outbox.deliver()

    assert begun == 30

    sequences: dict[str, list[int]] = {}
    for request in receiver.received:
        data = request.json["data"]
        sequences.setdefault(data["executionId"], []).append(data["sequence"])
    assert sequences == {
        node_id("Execution", outbox.execution.id): list(range(1, 21)),
        node_id("Execution", other.id): list(range(1, 11)),
    }


async def test_an_event_waits_for_the_one_before_it_that_is_under_way(outbox: Outbox) -> None:
    await outbox.webhook("https://a.example.org")
    await outbox.store_events(outbox.done("one"), outbox.done("two"))

    [first] = await outbox.store.claim(10, 4, LEASE)
    meanwhile = await outbox.store.claim(10, 4, LEASE)
    await outbox.store.settle(first.delivery, DeliveryStatus.SUCCEEDED, Answered(0.1, 200), None)
    [second] = await outbox.store.claim(10, 4, LEASE)

    assert meanwhile == []
    assert [first.delivery.payload["name"], second.delivery.payload["name"]] == ["one", "two"]


async def test_one_that_waits_for_its_next_attempt_lets_the_others_pass(outbox: Outbox, receiver: Receiver) -> None:
    await outbox.webhook(receiver.url())

    async def all_but_the_first(request: Received) -> bytes:
        return await answering(500 if request.json["data"]["name"] == "one" else 200)(request)

    receiver.answers["/hook"] = all_but_the_first
    await outbox.store_events(outbox.done("one"), outbox.done("two"), outbox.done("three"))

    await outbox.deliver(LONG)

    assert [request.json["data"]["name"] for request in receiver.received] == ["one", "two", "three"]
    pending = [each.payload["name"] for each in await outbox.deliveries() if each.status is DeliveryStatus.PENDING]
    assert pending == ["one"]


async def test_a_long_queue_of_one_execution_does_not_hide_what_can_go(outbox: Outbox) -> None:
    await outbox.webhook("https://a.example.org")
    await outbox.store_events(*(outbox.done(f"{number}") for number in range(450)))
    [first] = await outbox.store.claim(10, 4, LEASE)
    # It comes back late: it is due again, behind all the others.
    await outbox.store.settle(first.delivery, DeliveryStatus.PENDING, Answered(0.1, 500), 0.0)

    names = []
    for _ in range(3):
        [claimed] = await outbox.store.claim(10, 4, LEASE)
        names.append(claimed.delivery.payload["name"])
        await outbox.store.settle(claimed.delivery, DeliveryStatus.SUCCEEDED, Answered(0.1, 200), None)

    assert names == ["1", "2", "3"]


# ---------------------------------------------------------------- whoever dies in the middle


async def test_what_a_dead_worker_was_sending_is_sent_again_when_its_lease_is_over(
    outbox: Outbox, receiver: Receiver
) -> None:
    never = asyncio.Event()
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = held(never)
    await outbox.store_events(outbox.done("one"), outbox.done("two"))
    dying = outbox.sender()
    begun = asyncio.create_task(dying.deliver())
    await eventually(lambda: receiver.received)
    begun.cancel()
    await dying.close()  # nothing more comes of it, as after a kill

    del receiver.answers["/hook"]
    within_lease = await outbox.deliver()
    await outbox.database.pool.execute("UPDATE webhook_delivery SET locked_until = now()")
    after_lease = await outbox.deliver()

    assert (within_lease, after_lease) == (0, 2)
    assert [request.json["data"]["name"] for request in receiver.received] == ["one", "one", "two"]
    assert receiver.received[0].json == receiver.received[1].json
    assert [(each.attempts, each.status.value) for each in await outbox.deliveries()] == [
        (2, "SUCCEEDED"), (1, "SUCCEEDED"),
    ]  # fmt: skip


async def test_nothing_is_held_in_the_database_while_a_request_is_under_way(outbox: Outbox, receiver: Receiver) -> None:
    released = asyncio.Event()
    await outbox.webhook(receiver.url())
    receiver.answers["/hook"] = held(released)
    await outbox.store_events(outbox.done())
    sender = outbox.sender()
    delivering = asyncio.create_task(sender.deliver())
    await eventually(lambda: receiver.received)

    locked = await outbox.database.pool.fetch("SELECT id FROM webhook_delivery FOR UPDATE NOWAIT")
    sessions = await outbox.database.pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    )
    released.set()
    await delivering
    await sender.close(SOON)

    assert (len(locked), sessions) == (1, 0)


async def test_who_comes_back_too_late_changes_nothing(outbox: Outbox) -> None:
    await outbox.webhook("https://a.example.org")
    await outbox.store_events(outbox.done())
    [late] = await outbox.store.claim(10, 4, LEASE)
    await outbox.database.pool.execute("UPDATE webhook_delivery SET locked_until = now()")
    [taken_over] = await outbox.store.claim(10, 4, LEASE)

    accepted = await outbox.store.settle(late.delivery, DeliveryStatus.FAILED, Answered(1.0, error="late"), None)
    [between] = await outbox.deliveries()
    done = await outbox.store.settle(taken_over.delivery, DeliveryStatus.SUCCEEDED, Answered(0.1, 200), None)
    again = await outbox.store.settle(taken_over.delivery, DeliveryStatus.FAILED, Answered(0.1, 500), None)

    assert (accepted, done, again) == (False, True, False)
    assert (between.status, between.attempts, between.error) == (DeliveryStatus.PENDING, 2, None)
    assert [each.status for each in await outbox.deliveries()] == [DeliveryStatus.SUCCEEDED]


async def test_a_database_that_is_away_while_an_answer_comes_costs_one_more_attempt(
    outbox: Outbox, receiver: Receiver
) -> None:
    await outbox.webhook(receiver.url())
    await outbox.store_events(outbox.done())

    class Away(SqlDeliveries):
        async def settle(self, *_: Any) -> bool:
            raise Unavailable("away")

    sender = DeliverWebhooks(Away(outbox.database.pool), outbox.client, FernetVault([KEY]), node_id, AT_ONCE)
    await sender.deliver()
    await sender.close(SOON)
    await outbox.database.pool.execute("UPDATE webhook_delivery SET locked_until = now()")
    await outbox.deliver()

    assert len(receiver.received) == 2
    assert [(each.status, each.attempts) for each in await outbox.deliveries()] == [(DeliveryStatus.SUCCEEDED, 2)]


# ---------------------------------------------------------------- addresses


class Names:
    """The DNS of these tests: each question for a name takes the next of its addresses, the last one stays."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): answers for name, answers in addresses.items()}
        self.asked: list[str] = []

    def getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host in self.addresses:
            self.asked.append(host)
            answers = self.addresses[host]
            host = answers.pop(0) if len(answers) > 1 else answers[0]
        elif not host[0].isdigit():
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://inside.test", "Not sent: the host inside.test is not on the public internet; the operator can allow"),
        ("https://nowhere.test", "The host cannot be found."),
        ("http://93.184.216.34", "Not sent: only https is sent over the public internet."),
        ("http://localhost", "Not sent: only https is sent over the public internet."),
        ("https://localhost", "Not sent: the host localhost is not on the public internet"),
        ("https://[::ffff:7f00:1]", "Not sent: the host ::ffff:7f00:1 is not on the public internet"),
    ],
)
async def test_what_leads_into_a_private_network_is_not_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, url: str, told: str
) -> None:
    names = Names(inside_test=["127.0.0.1"], localhost=["127.0.0.1"])
    names.addresses["::ffff:7f00:1"] = ["127.0.0.1"]
    monkeypatch.setattr("socket.getaddrinfo", names.getaddrinfo)
    client = HttpWebhookClient(PrivateHosts())

    answered = await client.post(f"{url}:{receiver.port}/hook", {}, b"{}")
    await client.close()

    assert answered.status is None
    assert answered.error
    assert answered.error.startswith(told)
    assert receiver.received == []


async def test_a_name_is_asked_for_once_and_its_checked_address_connected_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(hooks_test=["127.0.0.1", "127.0.0.2"])
    monkeypatch.setattr("socket.getaddrinfo", names.getaddrinfo)
    client = HttpWebhookClient(PrivateHosts(["hooks.test"]), seconds=SOON)

    answered = await client.post(receiver.url(host="hooks.test"), {"X-Own": "kept"}, b'{"a":1}')
    await client.close()

    assert answered.status == 204
    assert names.asked == ["hooks.test"]
    [request] = receiver.received
    assert (request.headers["host"], request.headers["x-own"]) == (f"hooks.test:{receiver.port}", "kept")
    assert (request.body, request.headers["content-length"]) == (b'{"a":1}', "7")


async def test_nobody_there_is_told_without_details(outbox: Outbox) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await outbox.webhook(f"http://127.0.0.1:{taken.getsockname()[1]}/secret-path")
        await outbox.store_events(outbox.done())
        await outbox.deliver(LONG)

    [delivery] = await outbox.deliveries()
    assert delivery.error == "No connection could be made: it was refused, or the host has no valid certificate."


# ---------------------------------------------------------------- secrets


async def test_while_a_secret_is_replaced_both_open_what_is_sent(outbox: Outbox, receiver: Receiver) -> None:
    first = await outbox.webhook(receiver.url())
    second = await outbox.service.rotate_secret(DEFAULT_TENANT, first.webhook.id, 3_600)
    await outbox.store_events(outbox.done())
    await outbox.deliver()
    third = await outbox.service.rotate_secret(DEFAULT_TENANT, first.webhook.id, 3_600)
    await outbox.store_events(outbox.done())
    await outbox.deliver()
    await outbox.database.pool.execute("UPDATE webhook_secret SET expires_at = now() WHERE expires_at IS NOT NULL")
    await outbox.store_events(outbox.done())
    await outbox.deliver()

    made = [first.secret, second.secret, third.secret]
    opened = [[request.is_from(secret) for secret in made] for request in receiver.received]
    assert opened == [[True, True, False], [False, True, True], [False, False, True]]


async def test_a_secret_that_cannot_be_read_is_told_and_nothing_is_sent_unsigned(
    outbox: Outbox, receiver: Receiver
) -> None:
    await outbox.webhook(receiver.url())
    await outbox.store_events(outbox.done())

    sender = outbox.sender(LONG, key=new_key())
    await sender.deliver()
    await sender.close(SOON)

    [delivery] = await outbox.deliveries()
    assert delivery.error == "A stored secret cannot be read: it was encrypted with another key."
    assert receiver.received == []


async def test_secrets_of_webhooks_are_encrypted_anew_with_the_others(outbox: Outbox, receiver: Receiver) -> None:
    made, newer = await outbox.webhook(receiver.url()), new_key()
    await outbox.store_events(outbox.done())

    done = await reencrypt(outbox.database.pool, FernetVault([newer, KEY]).relocked)
    sender = outbox.sender(key=newer)
    await sender.deliver()
    await sender.close(SOON)

    assert (done.seen, done.changed, done.unreadable) == (1, 1, 0)
    assert [request.is_from(made.secret) for request in receiver.received] == [True]


# ---------------------------------------------------------------- disabled, forgotten


async def test_a_webhook_that_only_failed_for_days_is_disabled_with_a_reason(
    outbox: Outbox, receiver: Receiver
) -> None:
    hook = (await outbox.webhook(receiver.url())).webhook
    receiver.answers["/hook"] = answering(500)
    await outbox.store_events(outbox.done())
    await outbox.deliver()
    failing = await outbox.stored(hook.id)
    await outbox.database.pool.execute("UPDATE webhook SET failing_since = now() - interval '73 hours'")

    await outbox.store_events(outbox.done())
    await outbox.deliver()
    disabled = await outbox.stored(hook.id)
    sent = len(receiver.received)
    await outbox.store_events(outbox.done("passed over"))
    await outbox.deliver()

    assert (failing.is_enabled, failing.failing_since is not None) == (True, True)
    assert (disabled.is_enabled, disabled.version) == (False, hook.version + 1)
    assert disabled.disabled_reason is not None
    assert disabled.disabled_reason.startswith("No delivery succeeded since 20")
    assert len(receiver.received) == sent
    assert "passed over" not in [each.payload["name"] for each in await outbox.deliveries()]


async def test_what_a_disabled_webhook_was_to_be_told_goes_out_when_it_is_enabled(
    outbox: Outbox, receiver: Receiver
) -> None:
    hook = (await outbox.webhook(receiver.url())).webhook
    await outbox.store_events(outbox.done("before"))
    disabled = await outbox.service.update(DEFAULT_TENANT, hook.id, 1, {"is_enabled": False})
    await outbox.store_events(outbox.done("meanwhile"))

    while_disabled = await outbox.deliver()
    enabled = await outbox.service.update(DEFAULT_TENANT, hook.id, disabled.version, {"is_enabled": True})
    await outbox.deliver()

    assert while_disabled == 0
    assert (enabled.disabled_reason, enabled.failing_since) == (None, None)
    assert [request.json["data"]["name"] for request in receiver.received] == ["before"]


async def test_a_ping_reaches_a_disabled_webhook_and_no_archived_one(outbox: Outbox, receiver: Receiver) -> None:
    off = await outbox.webhook(receiver.url(), is_enabled=False)
    gone = await outbox.webhook(receiver.url("/gone"), "Gone")
    ping = await outbox.service.test(DEFAULT_TENANT, off.webhook.id)
    same = await outbox.service.test(DEFAULT_TENANT, off.webhook.id)
    await outbox.service.test(DEFAULT_TENANT, gone.webhook.id)
    await outbox.service.archive(DEFAULT_TENANT, gone.webhook.id)

    assert await outbox.deliver() == 1

    assert same.id == ping.id
    [request] = receiver.received
    assert (request.path, request.type) == ("/hook", "Ping")
    assert request.json["data"]["webhookId"] == node_id("Webhook", off.webhook.id)
    assert request.is_from(off.secret)


async def test_what_is_too_old_is_forgotten_a_batch_at_a_time(outbox: Outbox) -> None:
    hook = (await outbox.webhook("https://a.example.org")).webhook
    await outbox.service.rotate_secret(DEFAULT_TENANT, hook.id, 0)
    await outbox.store_events(*(outbox.done(f"{number}") for number in range(7)))
    await outbox.database.pool.execute(
        "UPDATE webhook_delivery SET created_at = now() - interval '31 days' WHERE sequence < 6"
    )

    forgotten = [await outbox.store.forget(3) for _ in range(3)]

    assert forgotten == [3, 2, 0]
    assert [each.sequence for each in await outbox.deliveries()] == [6, 7]
    assert await outbox.database.pool.fetchval("SELECT count(*) FROM webhook_secret") == 1


async def test_the_duty_forgets_besides_what_it_sends(outbox: Outbox) -> None:
    hook = (await outbox.webhook("https://a.example.org", is_enabled=False)).webhook
    old = WebhookDelivery(DEFAULT_TENANT, hook.id, "Ping", created_at=utc_now() - timedelta(days=31))
    async with SqlUnitsOfWork(outbox.database.engine)(DEFAULT_TENANT) as unit:
        await unit.webhooks.queue(replace(old, status=DeliveryStatus.SUCCEEDED))
        await unit.commit()

    assert await outbox.deliver(LONG) == 0

    assert await outbox.deliveries() == []


async def test_an_answer_in_the_graph_finds_the_newest_first(outbox: Outbox) -> None:
    hook = (await outbox.webhook("https://a.example.org")).webhook
    await outbox.store_events(*(outbox.done(f"{number}") for number in range(5)))

    pages = await SqlReader(outbox.database.pool).pages(
        WebhookDelivery, DEFAULT_TENANT, "webhook_id", [hook.id], PageRequest(first=3)
    )

    assert [each.sequence for each in pages[hook.id].items] == [5, 4, 3]
    assert pages[hook.id].has_next
