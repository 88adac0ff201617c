"""Brings a database to the newest revision: Regatta's own tables and those of DBOS."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from persistence.engine import APPLICATION_ROLE
from persistence.urls import asyncpg_arguments, plain_url

if TYPE_CHECKING:
    from alembic.config import Config

ROOT = Path(__file__).parent.parent


def configuration(url: str) -> "Config":
    """Alembic's configuration for this database."""
    from alembic.config import Config  # noqa: PLC0415 - alembic is slow to import and rarely needed

    config = Config(ROOT / "alembic.ini")
    config.attributes["url"] = url
    return config


def newest_revision() -> str:
    """The revision that this code needs: the last of the numbered files."""
    return max(path.name for path in (ROOT / "alembic" / "versions").glob("*.py")).split("_", 1)[0]


def migrate(url: str) -> None:
    """Run all missing migrations, as the user of the URL: an owner of the database, with the right to make roles."""
    from alembic import command  # noqa: PLC0415 - see above
    from dbos import run_dbos_database_migrations  # noqa: PLC0415 - see above

    command.upgrade(configuration(url), "head")
    run_dbos_database_migrations(system_database_url=dbos_url(url), application_role=APPLICATION_ROLE)


def dbos_url(url: str) -> str:
    """The URL as DBOS (psycopg) takes it."""
    return plain_url(url).replace("postgresql://", "postgresql+psycopg://", 1)


async def current_revision(url: str) -> str | None:
    """The revision of the database; None when it has none yet."""
    connection = await asyncpg.connect(**asyncpg_arguments(url))
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close()


def migrate_if_needed(url: str) -> bool:
    """Migrate an outdated database; True when something was done. A look costs milliseconds, alembic a second."""
    if asyncio.run(current_revision(url)) == newest_revision():
        return False
    migrate(url)
    return True
