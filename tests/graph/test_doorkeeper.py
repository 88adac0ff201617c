"""Who may knock: names and origins, over HTTP and websocket."""

import pytest
from websockets.exceptions import InvalidStatus

from app.main import create_app
from app.settings import Settings
from tests.support.graphql import Graph
from tests.support.live import served

QUERY = {"query": "{ tenant { name } }"}


@pytest.mark.parametrize("host", ["evil.example:8000", "evil.example", "", "[::1", "127.0.0.1.evil.example"])
async def test_a_rebound_name_is_refused(graph: Graph, host: str) -> None:
    answer = await graph.http.post("/graphql", json=QUERY, headers={"host": host})

    assert answer.status_code == 403
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000"])
async def test_the_names_of_loopback_are_welcome(graph: Graph, host: str) -> None:
    answer = await graph.http.post("/graphql", json=QUERY, headers={"host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
async def test_a_page_of_another_origin_is_refused(graph: Graph, origin: str) -> None:
    headers = {"host": "127.0.0.1:8000", "origin": origin}

    answer = await graph.http.post("/graphql", json=QUERY, headers=headers)

    assert answer.status_code == 403


async def test_our_own_pages_and_allowed_origins_are_welcome(settings: Settings) -> None:
    allowed = settings.model_copy(update={"allowed_origins": ("https://app.example.org",)})
    async with Graph.over(create_app(allowed)) as graph:
        for origin in ("http://127.0.0.1:8000", "https://app.example.org"):
            headers = {"host": "127.0.0.1:8000", "origin": origin}
            assert (await graph.http.post("/graphql", json=QUERY, headers=headers)).status_code == 200


async def test_a_deployment_names_its_own_hosts(settings: Settings) -> None:
    named = settings.model_copy(update={"allowed_hosts": ("regatta.example.org",)})
    async with Graph.over(create_app(named)) as graph:
        for host, status in (("regatta.example.org", 200), ("127.0.0.1", 403)):
            assert (await graph.http.post("/graphql", json=QUERY, headers={"host": host})).status_code == status


async def test_a_websocket_of_another_page_is_refused(settings: Settings) -> None:
    from websockets.asyncio.client import connect  # noqa: PLC0415 - only here

    async with served(create_app(settings)) as graph:
        address = str(graph.http.base_url).replace("http", "ws") + "/graphql"
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(address, origin="http://evil.example", subprotocols=["graphql-transport-ws"]):  # type: ignore[arg-type,list-item]  # plain texts do
                pass

    answer = refusal.value.response
    assert (answer.status_code, len(answer.headers["x-request-id"])) == (403, 32)
    assert answer.body == b"Pages of that origin may not call this server; see REGATTA_ALLOWED_ORIGINS."
