"""Encrypts every stored secret with the deployment's first key: what `regatta rotate-secrets` does."""

import asyncio

import asyncpg

from app.complaints import Complaint
from app.settings import Settings
from app.vault import FernetVault
from domain.errors import Unavailable
from persistence.engine import Database
from persistence.rotation import Rotation, reencrypt


def rotate(settings: Settings) -> Rotation:
    """Encrypt all anew, as the application's database user; what the first key encrypted already stays.

    `settings` must have a key and say where the database is.

    Raises:
        Complaint: the database does not answer, or it is not at our revision.
    """
    try:
        return asyncio.run(_rotate(settings))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Complaint(f"cannot change the database: {str(error) or type(error).__name__}") from None
    except Unavailable as error:
        raise Complaint(str(error)) from None


async def _rotate(settings: Settings) -> Rotation:
    if settings.database_url is None:
        raise ValueError("it needs to be told where the database is")
    database = await Database.connect(settings.database_url, name="rotation", pool_size=2)
    try:
        return await reencrypt(database.pool, FernetVault.of(settings).relocked)
    finally:
        await database.close()
