"""`regatta serve`: the API in this process, and the embedded PostgreSQL and the workers as its children.

Order of a start: take the port, begin PostgreSQL, import the application meanwhile, migrate, answer requests, and only
then start the workers, whose imports would take the processor from all that. Order of an end: stop accepting and tell
the workers, then PostgreSQL.

The workers are children of one child of ours, the nursery (`app.nursery`), which imports what they need and forks them.

Children must not outlive us. The nursery is in a session of its own, so that Ctrl-C reaches only us, and holds the
reading end of a pipe whose other end dies with us, however that happens. PostgreSQL is adopted by the next start.
"""

import asyncio
import contextlib
import errno
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

from app.complaints import Complaint
from app.embedded import EmbeddedPostgres, EmbeddedPostgresError
from app.settings import LEAVING_SECONDS, Settings, check_binding

if TYPE_CHECKING:
    import uvicorn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLOSING_SECONDS: Final = 2.5  # beyond the grace, for the API to let go of its connections
_NURSERY_SECONDS: Final = 0.5  # beyond the time in which the nursery itself kills its workers
_FIRST_PAUSE: Final = 0.5  # seconds before a dead nursery is started again, doubled up to the longest
_LONGEST_PAUSE: Final = 30.0
_STEADY_SECONDS: Final = 60.0  # one that lived so long starts again with the first pause
_LOOK_SECONDS: Final = 1.0
_BACKLOG: Final = 2048
_INTERRUPTED: Final = 130
_HANDED_OVER: Final = "; executions that do not end in time go on at the next start"

_NO_ADDRESS_HINT: Final = "; --host (REGATTA_HOST) takes an address of this machine, like 127.0.0.1"
_LISTENING_HINTS: Final = {
    errno.EADDRINUSE: '; choose another port with --port (make run ARGS="--port 8001")',
    errno.EADDRNOTAVAIL: _NO_ADDRESS_HINT,
}


class CannotServe(Complaint):
    """Why the server does not start, in words for whoever starts it."""


def serve(settings: Settings, *, parent_fd: int | None = None) -> int:
    """Serve until a signal, or until the other end of `parent_fd` is closed; returns the exit status.

    Raises:
        BadSettings: strangers could call.
        CannotServe: the port is taken, or the database is out of reach or outdated.
        EmbeddedPostgresError: PostgreSQL did not start.
    """
    began = time.monotonic()
    check_binding(settings)
    _end_as_with_ctrl_c()
    try:
        with _listening(settings.host, settings.port) as listener, _database(settings) as database:
            return _serve(settings, database, listener, parent_fd, began)
    except KeyboardInterrupt:  # while starting
        return _INTERRUPTED


def _serve(
    settings: Settings, database: "_Database", listener: socket.socket, parent_fd: int | None, began: float
) -> int:
    gc.disable()  # until all is imported there is little to collect
    import uvloop  # noqa: PLC0415 - slow to import; PostgreSQL starts meanwhile

    from app.main import create_app  # noqa: PLC0415 - same
    from app.observability import configure_logging  # noqa: PLC0415 - same

    configure_logging(settings.log_level, settings.log_format)
    settings = _with_key(settings, database).with_database(database.prepared())
    app = create_app(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Serving(settings, app, listener, database, began).run(parent_fd))
    except SystemExit:  # uvicorn's way of saying that the application failed
        raise CannotServe("the application does not start: see the log above") from None
    return 0


def _with_key(settings: Settings, database: "_Database") -> Settings:
    """With a key for stored secrets: where the database is ours, so is the key beside it."""
    if settings.secret_key is not None or not database.is_embedded:
        return settings
    from app.vault import kept_key  # noqa: PLC0415 - slow to import

    return settings.with_secret_key(kept_key(settings.data_dir))


def _end_as_with_ctrl_c() -> None:
    """While starting, every signal that ends us unwinds the stack, so that nothing stays behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, interrupt)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """The port, taken first: nothing is started in vain, and early requests wait instead of being refused."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(addresses, key=lambda each: each[0] != socket.AF_INET)
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        is_name = isinstance(error, socket.gaierror)  # its numbers are not those of the system
        reason = error.strerror if is_name else os.strerror(error.errno or 0)
        hint = _NO_ADDRESS_HINT if is_name else _LISTENING_HINTS.get(error.errno or 0, "")
        raise CannotServe(f"cannot listen on {host}:{port}: {reason}{hint}") from None
    with listener:
        yield listener


class _Database(Protocol):
    """Where the data is."""

    is_embedded: bool

    def prepared(self) -> str:
        """The URL of the database, which is there and at our revision."""
        ...

    def look_after(self) -> None:
        """Start it again if it died and is ours to start."""
        ...


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[_Database]:
    if settings.database_url is not None:
        yield _External(settings.database_url)
        return
    postgres = EmbeddedPostgres(settings.data_dir)
    try:
        postgres.begin()
    except OSError as error:
        raise CannotServe(f"cannot use the data directory {settings.data_dir}: {error}") from None
    try:
        yield _Embedded(postgres)
    finally:
        _ignore_signals()
        postgres.stop()


class _Embedded:
    is_embedded = True

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres

    def prepared(self) -> str:
        from app.migrations import migrate_if_needed  # noqa: PLC0415 - slow to import

        url = self._postgres.wait_ready()
        migrate_if_needed(url)
        return url

    def look_after(self) -> None:
        if not self._postgres.running:
            _log().error("postgres_ended", action="starting it again")
            self._postgres.begin()


class _External:
    is_embedded = False

    def __init__(self, url: str) -> None:
        self._url = url

    def prepared(self) -> str:
        """The URL; who runs several processes decides himself when to migrate."""
        from app.migrations import newest_revision  # noqa: PLC0415 - slow to import

        revision = revision_of(self._url)
        if revision != newest_revision():
            found = f"at revision {revision}" if revision else "empty"
            raise CannotServe(f"the database is {found}, needed is {newest_revision()}: run `regatta migrate` first")
        return self._url

    def look_after(self) -> None:
        """Not ours."""


def revision_of(url: str) -> str | None:
    """The revision of a database that may not be there; raises CannotServe."""
    import asyncpg  # noqa: PLC0415 - slow to import

    from app.migrations import current_revision  # noqa: PLC0415 - same

    try:
        return asyncio.run(current_revision(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotServe(f"cannot reach the database: {str(error) or type(error).__name__}") from None


def _ignore_signals() -> None:
    """The last step of an end is not interrupted: it takes a moment."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _server(app: Any, settings: Settings, started: asyncio.Event) -> "uvicorn.Server":
    import uvicorn  # noqa: PLC0415 - slow to import

    class Server(uvicorn.Server):
        """Leaves signals alone: ending is more than closing this server."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    return Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="websockets-sansio",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=settings.max_request_bytes,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_seconds)),
        )
    )


class _Serving:
    """From the first request to the last."""

    def __init__(
        self, settings: Settings, app: Any, listener: socket.socket, database: _Database, began: float
    ) -> None:
        self._settings = settings
        self._started = asyncio.Event()
        self._server = _server(app, settings, self._started)
        self._listener = listener
        self._database = database
        self._began = began
        self._stop = asyncio.Event()
        self._nursery: _Nursery | None = None
        self._beside: list[asyncio.Task[None]] = []

    async def run(self, parent_fd: int | None) -> None:
        self._listen_to_signals(parent_fd)
        api = asyncio.create_task(self._server.serve([self._listener]), name="api")
        with _lifeline() as lifeline:
            try:
                await self._first_of(api, self._started, self._stop)
                self._begin_the_rest(lifeline)
                await self._first_of(api, self._stop)
            finally:
                await self._end(api)

    def _listen_to_signals(self, parent_fd: int | None) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(number, self._on_signal)
        if parent_fd is not None:
            loop.add_reader(parent_fd, self._on_orphaned, parent_fd)

    def _on_signal(self) -> None:
        if self._stop.is_set():  # the second time nothing is waited for
            self._server.force_exit = True
            if self._nursery is not None:
                self._nursery.terminate()
        else:
            _say(f"Stopping{_HANDED_OVER if self._nursery else ''}. Once more ends it at once.")
        self._stop.set()

    def _on_orphaned(self, parent_fd: int) -> None:
        asyncio.get_running_loop().remove_reader(parent_fd)
        self._stop.set()

    async def _first_of(self, api: "asyncio.Task[None]", *events: asyncio.Event) -> None:
        waiting = [asyncio.create_task(event.wait()) for event in events]
        await asyncio.wait({api, *waiting}, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _begin_the_rest(self, lifeline: int) -> None:
        if self._stop.is_set():
            return
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection looks at it
        gc.enable()
        if self._settings.workers:
            self._nursery = _Nursery(self._settings, lifeline)
        self._beside.append(asyncio.create_task(self._look_after_database()))
        if self._database.is_embedded:
            self._beside.append(asyncio.create_task(_seed_once(self._settings)))
        _say(_announcement(self._settings, time.monotonic() - self._began))

    async def _look_after_database(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._database.look_after()
            except (EmbeddedPostgresError, OSError) as error:
                _log().error("postgres_unavailable", error=str(error))

    async def _end(self, api: "asyncio.Task[None]") -> None:
        self._stop.set()
        self._server.should_exit = True
        for task in self._beside:
            task.cancel()
        grace = self._settings.shutdown_grace_seconds
        stopping = [self._nursery.stop(grace + LEAVING_SECONDS + _NURSERY_SECONDS)] if self._nursery else []
        await asyncio.gather(asyncio.wait({api}, timeout=grace + _CLOSING_SECONDS), *stopping)


class _Nursery:
    """Keeps the process running that keeps the workers running, each under the same name again and again."""

    def __init__(self, settings: Settings, lifeline: int) -> None:
        self._processes = settings.workers
        self._lifeline = lifeline
        self._environment = {**os.environ, **settings.environment()}
        self._environment.pop("REGATTA_MIGRATION_DATABASE_URL", None)  # the owner's rights are none of its business
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep(), name="workers")

    async def stop(self, patience: float) -> None:
        """Ask it to end, and end it after so many seconds."""
        self._stopping.set()
        self.terminate()
        _, late = await asyncio.wait({self._task}, timeout=patience)
        if late:
            _log().warning("workers_killed")
            self._kill()
            await asyncio.wait({self._task})

    def terminate(self) -> None:
        """Ask it to end; the second time, without waiting for the workers."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def _kill(self) -> None:
        """End it at once; the workers see that it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._live()
            if time.monotonic() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            if not self._stopping.is_set():
                _log().warning("workers_ended", status=status, again_in_seconds=pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _live(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *_nursery_command(self._processes, self._lifeline),
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(self._lifeline,),
            start_new_session=True,
        )
        if self._stopping.is_set():  # while it was being started
            self._process.terminate()
        return await self._process.wait()


def _nursery_command(processes: int, lifeline: int) -> Sequence[str]:
    options = ("--processes", str(processes), "--parent-fd", str(lifeline))
    return (sys.executable, "-m", "app.cli", "worker", *options)


@contextlib.contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe into which nobody writes: at its end, the process that opened it is gone."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


async def _seed_once(settings: Settings) -> None:
    """Fill a new data directory; one whose project was archived since is left alone."""
    done = settings.data_dir / "seeded"
    if done.exists():
        return
    import httpx  # noqa: PLC0415 - needed once in the life of a data directory

    from app.seed import SeedRefused, ensure_seed  # noqa: PLC0415 - same

    try:
        # Not through a proxy of the environment: it is ourselves.
        async with httpx.AsyncClient(base_url=web_address(settings), trust_env=False) as client:
            await ensure_seed(_asking(client))
    except (SeedRefused, httpx.HTTPError, KeyError) as error:
        _log().warning("not_seeded", error=repr(error))
        return
    done.touch()


def _asking(client: Any) -> Callable[[str, Mapping[str, Any]], Any]:
    async def ask(document: str, variables: Mapping[str, Any]) -> Any:
        answer = await client.post("/graphql", json={"query": document, "variables": variables})
        return answer.raise_for_status().json()["data"]

    return ask


def web_address(settings: Settings) -> str:
    """Where a browser on this machine finds the server, without a slash at the end."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host and "[" not in host else f"http://{host}:{settings.port}"


def _announcement(settings: Settings, seconds: float) -> str:
    address = web_address(settings)
    workers = {0: "none: executions wait", 1: "1, warming up"}.get(settings.workers, f"{settings.workers}, warming up")
    model = settings.model or "routed by task; simulated where no provider has a key"
    return "\n".join(
        (
            f"Regatta serves, {seconds:.1f} s after its start. Ctrl-C ends it.",
            f"  GraphiQL and GraphQL  {address}/graphql",
            f"  Websocket             {address.replace('http', 'ws', 1)}/graphql",
            f"  Health                {address}/health/ready",
            *([f"  Metrics               {_metrics_places(settings)}"] if settings.metrics else []),
            f"  Workers               {workers}",
            f"  Model                 {model}",
        )
    )


def _metrics_places(settings: Settings) -> str:
    first, last = settings.metrics_port_of(0), settings.metrics_port_of(settings.workers - 1)
    api = f"{web_address(settings)}/metrics"
    if first is None or settings.workers == 0:
        return api
    return f"{api}; of the workers at port{f' {first}' if last == first else f's {first} to {last}'}"


def _say(text: str) -> None:
    # Whoever started us may have closed his end by now.
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)  # noqa: T201 - what the command is expected to print


def _log() -> Any:
    import structlog  # noqa: PLC0415 - slow to import, and first needed long after the start

    return structlog.get_logger(__name__)
