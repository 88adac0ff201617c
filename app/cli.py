"""The command `regatta`. What can be slow is imported by the command that needs it: `--help` answers at once."""

import gc
import importlib.metadata
import os
import select
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from app.complaints import Complaint
from app.embedded import EmbeddedPostgres, EmbeddedPostgresError

_FAILED: Final = 1
_ROLE_HINT: Final = "\nthe owner needs CREATEROLE: ALTER ROLE … CREATEROLE"
_MOST_PROCESSES: Final = 64

app = typer.Typer(
    name="regatta",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Host = Annotated[str | None, typer.Option(help="Address to bind [REGATTA_HOST, else 127.0.0.1].", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port to bind [REGATTA_PORT, else 8000].", show_default=False)]
Insecure = Annotated[
    bool | None,
    typer.Option("--insecure", help="Allow a host that is not loopback: anyone may call.", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Worker processes to start, 0 for none [REGATTA_WORKERS, else 1].", show_default=False),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the embedded PostgreSQL lives [REGATTA_DATA_DIR, else .regatta].", show_default=False),
]
ParentFd = Annotated[int | None, typer.Option(hidden=True)]


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"regatta {importlib.metadata.version('regatta')}")
        raise typer.Exit


@app.callback()
def regatta(
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Teams of AI agents behind one GraphQL API. All settings: docs/settings.md."""


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    data_dir: DataDir = None,
    insecure: Insecure = None,
    parent_fd: ParentFd = None,
) -> None:
    """Serve the API until Ctrl-C, with an embedded PostgreSQL (unless REGATTA_DATABASE_URL is set) and workers."""
    from app.serve import serve as run  # noqa: PLC0415 - see the module

    settings = _settings(host=host, port=port, workers=workers, data_dir=data_dir, insecure=insecure)
    raise typer.Exit(run(settings, parent_fd=parent_fd))


@app.command()
def worker(
    name: Annotated[
        str | None,
        typer.Option(help="Stays the same over restarts and is unique; made from host and directory if absent."),
    ] = None,
    index: Annotated[int, typer.Option(help="Counts the workers of one place, for the name.", min=0)] = 0,
    processes: Annotated[
        int | None,
        typer.Option(
            help="So many workers, forked by this process and replaced when they die; absent: this process is one.",
            min=1,
            max=_MOST_PROCESSES,
            show_default=False,
        ),
    ] = None,
    parent_fd: ParentFd = None,
) -> None:
    """Carry out executions until Ctrl-C. Needs REGATTA_DATABASE_URL."""
    settings = _settings(warns=parent_fd is None)  # else whoever started it has warned already
    if settings.database_url is None:
        raise Complaint("REGATTA_DATABASE_URL is needed: the embedded database belongs to `regatta serve`")
    if settings.metrics_port_of(index):
        from app.settings import check_binding  # noqa: PLC0415 - see the module

        check_binding(settings)
    if processes is None:
        status = _work(settings, index, name, parent_fd)
    else:
        status = _keep_workers(settings, processes, index, name, parent_fd)
    gc.freeze()  # or the interpreter's end searches all of CrewAI for garbage, which takes more than a second
    raise typer.Exit(status)


def _keep_workers(settings: Any, processes: int, index: int, name: str | None, parent_fd: int | None) -> int:
    """Returns in the parent, and in each worker that it forks."""
    from app.nursery import NurseryOptions, keep_workers  # noqa: PLC0415 - see the module
    from app.observability import configure_logging  # noqa: PLC0415 - same

    def prepare() -> None:
        from app.worker import import_everything  # noqa: PLC0415 - takes seconds

        import_everything(settings)

    configure_logging(settings.log_level, settings.log_format)
    options = NurseryOptions(settings, processes, name, index, parent_fd)
    return keep_workers(options, prepare, lambda own, called, lifeline: _work(settings, own, called, lifeline))


def _work(settings: Any, index: int, name: str | None, parent_fd: int | None) -> int:
    if parent_fd is not None:
        from app.settings import LEAVING_SECONDS  # noqa: PLC0415 - see the module

        _do_not_outlive(parent_fd, settings.shutdown_grace_seconds + LEAVING_SECONDS)
    from app.observability import configure_logging, ignore_warnings  # noqa: PLC0415 - see the module

    ignore_warnings()
    from app import worker as workers  # noqa: PLC0415 - takes seconds

    configure_logging(settings.log_level, settings.log_format)
    chosen = name or workers.default_name(settings, index)
    spare = () if name else workers.spare_names(settings, index)
    return workers.main(workers.WorkerOptions(settings, chosen, parent_fd, spare, settings.metrics_port_of(index)))


def _do_not_outlive(parent_fd: int, patience: float) -> None:
    """End this process some seconds after its parent, if it has not ended by itself: while importing it is deaf."""

    def wait() -> None:
        select.select([parent_fd], [], [])
        time.sleep(patience)
        os._exit(_FAILED)

    threading.Thread(target=wait, name="parent", daemon=True).start()


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to the newest revision.

    It is that at REGATTA_MIGRATION_DATABASE_URL, else at REGATTA_DATABASE_URL, else the embedded one.
    """
    from app.migrations import newest_revision  # noqa: PLC0415 - see the module
    from app.serve import revision_of  # noqa: PLC0415 - same

    settings = _settings(data_dir=data_dir)
    embedded = None if settings.owner_url else EmbeddedPostgres(settings.data_dir)
    try:
        url = settings.owner_url or (embedded.start() if embedded else "")
        before = revision_of(url)
        _migrate(url)
    finally:
        if embedded:
            embedded.stop()
    typer.echo(f"The database is at revision {newest_revision()}{'' if before else ', newly made'}.")


def _migrate(url: str) -> None:
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 - see the module

    from app.migrations import migrate as run  # noqa: PLC0415 - same

    try:
        run(url)
    except DBAPIError as error:  # above all a user who may not make tables or roles
        hint = _ROLE_HINT if "permission denied to create role" in str(error.orig) else ""
        raise Complaint(f"the migration failed: {error.orig}{hint}") from error


@app.command("secret-key")
def secret_key() -> None:
    """Print a new key for REGATTA_SECRET_KEY, which encrypts the keys and credentials of tenants."""
    from app.vault import new_key  # noqa: PLC0415 - see the module

    typer.echo(new_key())


@app.command("rotate-secrets")
def rotate_secrets(data_dir: DataDir = None) -> None:
    """Encrypt all stored secrets with the first key of REGATTA_SECRET_KEY; safe to repeat.

    The database is that at REGATTA_DATABASE_URL, else the embedded one, whose file secret.key then holds that key.
    """
    from app.rotation import rotate  # noqa: PLC0415 - see the module
    from app.vault import keep_key  # noqa: PLC0415 - same

    settings = _settings(data_dir=data_dir)
    if not settings.secret_keys:
        raise Complaint("REGATTA_SECRET_KEY is needed: the new key, then behind a comma the one that was used so far")
    embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
    try:
        done = rotate(settings.with_database(embedded.start()) if embedded else settings)
        # Last of all, and while the directory is ours: as long as anything needs the old key, it stays there.
        is_kept = bool(embedded) and not done.unreadable
        file = keep_key(settings.data_dir, settings.secret_keys[0]) if is_kept else None
    finally:
        if embedded:
            embedded.stop()
    typer.echo(f"{done.changed} of {done.seen} secrets were encrypted anew with the first key.")
    if done.unreadable:
        raise Complaint(f"{done.unreadable} open with none of the keys: name the key that was used, or set them again")
    if file:
        typer.echo(f"{file} holds that key now: back it up.")


@app.command()
def demo(
    data_dir: DataDir = None,
    product: Annotated[str | None, typer.Option(help="What the team launches.")] = None,
    audience: Annotated[str | None, typer.Option(help="For whom.")] = None,
) -> None:
    """Kick off the team of three and watch it work, on REGATTA_MODEL, or on what its tasks are routed to."""
    from app.demo import run_demo  # noqa: PLC0415 - see the module

    raise typer.Exit(run_demo(_settings(data_dir=data_dir), product, audience))


@app.command("export-schema")
def export_schema(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if the file is out of date.")] = False,
) -> None:
    """Write the schema to schema/schema.graphql."""
    from schema.schema import SNAPSHOT, sdl  # noqa: PLC0415 - see the module

    text = sdl()
    if not check:
        SNAPSHOT.write_text(text, "utf-8")
    elif not SNAPSHOT.exists() or SNAPSHOT.read_text("utf-8") != text:
        raise Complaint("schema/schema.graphql is out of date: run `regatta export-schema`")


def _settings(*, warns: bool = True, **options: Any) -> Any:
    from app.settings import load, unknown_variables  # noqa: PLC0415 - see the module

    settings = load(**options)
    for line in unknown_variables() if warns else ():
        typer.echo(f"regatta: warning: {line}", err=True)
    return settings


def main() -> None:
    """The command's entry: whatever a person can mend is a line on standard error, not a trace."""
    try:
        app(prog_name="regatta")
    except (Complaint, EmbeddedPostgresError) as error:
        for line in str(error).splitlines():
            typer.echo(f"regatta: {line}", err=True)
        sys.exit(error.status if isinstance(error, Complaint) else _FAILED)


if __name__ == "__main__":
    main()
