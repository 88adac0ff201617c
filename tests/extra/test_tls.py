"""A database that is reached over TLS alone: everybody who connects to it has to understand its URL."""

import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import asyncpg
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.broadcast import BroadcastHints
from app.durable import DurableWorker
from app.main import create_app
from app.migrations import migrate
from app.settings import Settings
from domain.model.identity import utc_now
from domain.ports import AdmissionKey
from persistence.urls import asyncpg_arguments
from tests.support.debian import debian_server
from tests.support.graphql import Graph
from tests.support.processes import free_port

pytestmark = pytest.mark.extra


def _certificate(directory: Path) -> None:
    """A certificate for the loopback address that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "regatta tests")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    days = (utc_now() - timedelta(days=1), utc_now() + timedelta(days=1))
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), *days)
    made = made.add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.crt").write_bytes(pem)
    (directory / "server.key").touch(mode=0o600)
    (directory / "server.key").write_bytes(secret)
    (directory / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URL of a migrated database, without what it says of TLS, and the file of who vouches for the server."""
    port, authority = free_port(), tmp_path_factory.mktemp("tls") / "ca.pem"

    def furnish(data: Path) -> None:
        _certificate(data)
        authority.write_bytes((data / "server.crt").read_bytes())

    with debian_server(f"-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on", furnish):
        url = f"postgresql://owner@127.0.0.1:{port}/postgres"
        migrate(f"{url}?sslmode=verify-full&sslrootcert={authority}")
        yield url, str(authority)


@asynccontextmanager
async def a_worker(url: str) -> AsyncIterator[None]:
    async def nothing(_: AdmissionKey) -> None: ...

    worker = DurableWorker(url, nothing, "w1")
    await worker.start()
    yield
    await worker.stop()


@asynccontextmanager
async def hints_over(url: str) -> AsyncIterator[BroadcastHints]:
    hints = BroadcastHints(url)
    await hints.start()
    yield hints
    await hints.stop()


async def sessions_of(url: str) -> list[tuple[str, bool]]:
    """Whoever is connected, by name, and whether what they say is encrypted."""
    owner = await asyncpg.connect(**asyncpg_arguments(url))
    try:
        listed = (
            "SELECT application_name, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = 'owner'"
        )
        return [(row["application_name"], row["ssl"]) for row in await owner.fetch(listed)]
    finally:
        await owner.close()


async def test_the_api_the_hints_and_the_runs_all_reach_it_over_tls(guarded: tuple[str, str]) -> None:
    url = f"{guarded[0]}?sslmode=verify-full&sslrootcert={guarded[1]}"
    api = create_app(Settings(database_url=url, pool_size=2))

    async with Graph.over(api) as graph, a_worker(url), hints_over(url) as hints:
        with hints.listen("topic") as listener:
            await graph.project()
            await graph.container.hints.publish(["topic"])
            assert await listener.wait(20)
        sessions = await sessions_of(url)

    assert {name for name, _ in sessions} >= {"regatta api", "regatta durable"}
    assert all(is_encrypted for _, is_encrypted in sessions)


async def test_who_cannot_vouch_for_the_server_does_not_connect(guarded: tuple[str, str]) -> None:
    settings = Settings(
        database_url=f"{guarded[0]}?sslmode=verify-full&sslrootcert={ssl.get_default_verify_paths().cafile}"
    )

    with pytest.raises((ssl.SSLError, OSError)):
        async with Graph.over(create_app(settings)):
            pass


async def test_without_tls_it_is_refused(guarded: tuple[str, str]) -> None:
    with pytest.raises((asyncpg.InvalidAuthorizationSpecificationError, psycopg.OperationalError)):
        async with Graph.over(create_app(Settings(database_url=f"{guarded[0]}?sslmode=disable"))):
            pass
