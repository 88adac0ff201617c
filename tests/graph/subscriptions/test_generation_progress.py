"""`generationProgress` over a real websocket."""

import asyncio

import pytest

from domain.model.generation import GenerationFailureCode, GenerationStatus
from domain.ports import generation_topic
from domain.services.generation_feed import GenerationFeed
from domain.services.snapshots import Snapshots
from persistence.engine import Database
from resolvers.node_ids import parse_node_id
from tests.support.generations import TO_READY, composer, generate, ready
from tests.support.graphql import Graph
from tests.support.live import SOON, Socket
from tests.support.things import strangers_things, unknown

PROGRESS = """subscription($id: ID!) { generationProgress(generationId: $id) { id status stage proposal { name }
    failure { code message } canAccept } }"""


async def statuses(socket: Socket, identifier: str) -> list[tuple[str, str]]:
    """All that is told until the end."""
    return [
        (payload["data"]["generationProgress"]["status"], payload["data"]["generationProgress"]["stage"])
        async for payload in socket.results(PROGRESS, id=identifier)
    ]


async def test_a_generation_is_told_at_once_on_every_change_and_until_it_is_ready(
    live: Graph, database: Database
) -> None:
    identifier = await generate(live)
    worker = await composer(live, database)
    told = []
    async with Socket.to(live) as socket:
        results = socket.results(PROGRESS, id=identifier)
        told.append((await anext(results))["data"]["generationProgress"])
        for status in TO_READY[:3]:
            assert await worker.write(status, stage=status.value.capitalize())
            told.append((await anext(results))["data"]["generationProgress"])
        assert await worker.write(GenerationStatus.READY, stage="", proposal={"name": "Press office"})
        told += [payload["data"]["generationProgress"] async for payload in results]

    assert [(it["status"], it["stage"], it["proposal"], it["canAccept"]) for it in told] == [
        ("PENDING", "", None, False),
        ("ANALYSING", "Analysing", None, False),
        ("COMPOSING", "Composing", None, False),
        ("VALIDATING", "Validating", None, False),
        ("READY", "", {"name": "Press office"}, True),
    ]


async def test_it_ends_with_a_failure_too_and_says_why(live: Graph, database: Database) -> None:
    identifier = await generate(live)
    worker = await composer(live, database)
    async with Socket.to(live) as socket:
        results = socket.results(PROGRESS, id=identifier)
        await anext(results)
        await worker.fails(GenerationFailureCode.NO_MODEL, "No model can be used.")
        rest = [payload["data"]["generationProgress"] async for payload in results]

    assert [(it["status"], it["failure"]) for it in rest] == [
        ("FAILED", {"code": "NO_MODEL", "message": "No model can be used."})
    ]


async def test_it_ends_when_somebody_cancels(live: Graph) -> None:
    identifier = await generate(live)
    async with Socket.to(live) as socket:
        results = socket.results(PROGRESS, id=identifier)
        await anext(results)
        await live.mutate("cancelGeneration", "generation { id }", generationId=identifier)
        rest = [payload["data"]["generationProgress"]["status"] async for payload in results]

    assert rest == ["CANCELLED"]


async def test_what_is_over_is_told_once(live: Graph, database: Database) -> None:
    identifier = await ready(live, database)
    async with Socket.to(live) as socket:
        assert await statuses(socket, identifier) == [("READY", "")]
        await live.mutate("rejectGeneration", "generation { id }", generationId=identifier)
        assert await statuses(socket, identifier) == [("REJECTED", "")]


async def test_what_is_not_there_cannot_be_followed(live: Graph) -> None:
    stranger = await generate(live)
    await strangers_things(live)

    async with Socket.to(live) as socket:
        for identifier in (unknown("Generation"), stranger, unknown("Team"), "nonsense"):
            payloads = [payload async for payload in socket.results(PROGRESS, id=identifier)]
            assert [(error["path"], error["extensions"]) for error in payloads[0]["errors"]] == [
                (["generationProgress"], {"code": "NOT_FOUND", "argument": ["generationId"]})
            ]
            assert len(payloads) == 1


async def test_all_who_follow_a_generation_share_its_reads(live: Graph, database: Database) -> None:
    identifier = await generate(live)
    worker = await composer(live, database)
    reader, hints = live.container.reader, live.container.hints
    shared = Snapshots(reader, hints)
    feed = GenerationFeed(reader, shared)
    generation = worker.generation
    streams = [feed.follow(generation.tenant_id, generation.id) for _ in range(20)]

    seen = [(await anext(stream)).status for stream in streams]
    followed = shared.followed
    assert await worker.write(GenerationStatus.ANALYSING)
    seen += [it.status for it in await asyncio.gather(*map(anext, streams))]
    await asyncio.gather(*(stream.aclose() for stream in streams))

    assert seen == [GenerationStatus.PENDING] * 20 + [GenerationStatus.ANALYSING] * 20
    assert (followed, shared.followed) == (1, 0)
    assert parse_node_id(identifier)[1] == generation.id


@pytest.mark.parametrize("patience", [0.2])
async def test_a_lost_hint_costs_no_more_than_the_patience(live: Graph, database: Database, patience: float) -> None:
    await generate(live)
    worker = await composer(live, database)
    reader, hints = live.container.reader, live.container.hints
    feed = GenerationFeed(reader, Snapshots(reader, hints, patience_seconds=patience))
    stream = feed.follow(worker.generation.tenant_id, worker.generation.id)

    await anext(stream)
    assert await worker.write(GenerationStatus.ANALYSING, hinted=False)
    async with asyncio.timeout(SOON):
        changed = await anext(stream)
    await stream.aclose()

    assert changed.status is GenerationStatus.ANALYSING
    assert generation_topic(changed.id) == f"generation:{changed.id}"
