"""A database's URL as each of the clients takes it: SQLAlchemy, asyncpg, and PostgreSQL's own (psycopg)."""

from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy.engine import URL, make_url

TLS_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
TLS: Final = TLS_FILES | {"sslmode", "sslpassword"}
"""What a URL may say of TLS, by the names that PostgreSQL's own clients have for it."""

TLS_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

SQLALCHEMY_ONLY: Final = frozenset({"prepared_statement_cache_size", "prepared_statement_name_func", "async_fallback"})
"""What a URL may say to SQLAlchemy's asyncpg dialect, and nobody else understands."""


def asyncpg_url(url: str) -> URL:
    """The URL for SQLAlchemy's asyncpg dialect, whatever driver it names; it takes TLS from `tls_arguments` alone."""
    return make_url(url).set(drivername="postgresql+asyncpg").difference_update_query(TLS)


def plain_url(url: str) -> str:
    """The URL as PostgreSQL's own clients read it, without a driver's name."""
    plain = make_url(url).set(drivername="postgresql").difference_update_query(SQLALCHEMY_ONLY)
    return plain.render_as_string(hide_password=False)


def tls_arguments(url: str) -> dict[str, Any]:
    """What the URL says of TLS as arguments of asyncpg, which reads files of keys from a DSN alone."""
    said = {name: value for name, value in make_url(url).query.items() if name in TLS}
    return {"dsn": f"postgresql://?{urlencode(said, doseq=True)}"} if said else {}


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """The URL as arguments of asyncpg, which does not take a socket directory from a DSN without a host part."""
    parts = make_url(url)
    host = parts.query.get("host") or parts.host
    port = parts.query.get("port") or parts.port
    return {
        **tls_arguments(url),
        "host": host if isinstance(host, str) or host is None else list(host),
        "port": int(port) if isinstance(port, str) else port,
        "user": parts.username,
        "password": parts.password,
        "database": parts.database,
    }
