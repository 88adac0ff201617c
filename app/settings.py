"""All settings of Regatta: from the environment (`REGATTA_…`) and from options of the command line, which win.

`load` is for processes that a person starts: it says what is wrong in one line per setting. docs/settings.md is made
from this module (`python -m app.settings` writes it).
"""

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.complaints import Complaint
from domain.model.audit import MAX_AUDIT_DAYS, MIN_AUDIT_DAYS
from domain.model.availability import PriceRule
from domain.model.catalogue import is_known_bare
from domain.model.model import MAX_PRICE
from domain.model.model_names import MAX_MODEL_NAME, PROVIDERS, is_model_name, is_provider_allowed, prefix_of
from domain.model.project import MAX_RETENTION_DAYS
from persistence.urls import SQLALCHEMY_ONLY, TLS, TLS_FILES, TLS_MODES

PREFIX: Final = "REGATTA_"
DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "settings.md"
_TESTS_ONLY: Final = f"{PREFIX}TEST_"

_BROADCAST_SCHEMES: Final = ("postgresql", "postgres", "redis", "rediss", "memory")


def _scheme(url: str) -> str:
    return urlsplit(url).scheme.partition("+")[0]


LEAVING_SECONDS: Final = 12.0
"""So much longer than `shutdown_grace_seconds` a worker may take until all that it has is handed over.

The sum of what it waits for at most: the dispatcher's `stop_seconds` (5), a generation that is being claimed (1), the
bookings of what is stopped (2) and its release (1, all three in `domain.services.generating`; runs, meanwhile, take
less), the thread of `/metrics` (0.5), the recorder (1, in `app.worker`), and a moment for the handing over itself.
"""

_LAST_PORT: Final = 65_535
_POSTGRES_EXAMPLE: Final = "should be a URL like postgresql://user:password@host:5432/database"


def _postgres_url(url: str) -> str:
    if _scheme(url) not in {"postgresql", "postgres"}:
        raise ValueError(_POSTGRES_EXAMPLE)
    try:
        parts = make_url(url)
    except (ValueError, ArgumentError):  # both may quote the password
        raise ValueError(_POSTGRES_EXAMPLE) from None
    if parts.port is not None and not 1 <= parts.port <= _LAST_PORT:
        raise ValueError(_POSTGRES_EXAMPLE)
    _check_query(parts.query)
    # SQLAlchemy knows only the longer name.
    return url if url.startswith("postgresql") else f"postgresql{url.removeprefix('postgres')}"


def _check_query(query: Mapping[str, str | Sequence[str]]) -> None:
    """Not every client that connects here knows every parameter: what one of them would trip over is refused."""
    known = {"host", "port"} | TLS | SQLALCHEMY_ONLY
    if unknown := sorted(query.keys() - known):
        raise ValueError(f"should have no parameter {unknown[0]}; TLS is told by {', '.join(sorted(TLS))}")
    if not str(query.get("port", 0)).isdecimal():
        raise ValueError("should have as port a number")
    if query.get("sslmode", "prefer") not in TLS_MODES:
        raise ValueError(f"should have as sslmode one of {', '.join(TLS_MODES)}")
    for name in sorted(query.keys() & TLS_FILES):
        if not Path(str(query[name])).is_file():
            raise ValueError(f"should have as {name} a file, and {query[name]} is none")


def _broadcast_url(url: str) -> str:
    if _scheme(url) not in _BROADCAST_SCHEMES:
        raise ValueError("should be a postgresql:// or redis:// URL")
    return url


def _web_url(url: str) -> str:
    if _scheme(url) not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("should be a URL like https://host.example.org")
    return url


def _origin(origin: str) -> str:
    if origin != "*":
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query or parts.fragment:
            raise ValueError("should be origins like https://app.example.org, without a path")
    return origin


def _model(name: str) -> str:
    if not is_model_name(name) or not is_provider_allowed(name):
        raise ValueError(f"should be a model of {', '.join(sorted(PROVIDERS))}")
    if prefix_of(name) is None and not is_known_bare(name):
        raise ValueError(
            "should begin with its provider, like openai/gpt-4o-mini: no model that ships has the bare name"
        )
    return name


def _price(text: str) -> str:
    if text != "refuse":
        try:
            price = Decimal(text)
        except InvalidOperation:
            price = Decimal(-1)
        if not (price.is_finite() and 0 < price <= MAX_PRICE):  # zero would let anything pass every budget
            raise ValueError("should be `refuse`, or dollars per million tokens like 15")
    return text


def _host(entry: str) -> str:
    if "/" in entry or "@" in entry:
        raise ValueError("should be hosts like 10.0.0.5 or models.lan:8000, not URLs")
    return entry


def is_secret_key(text: str) -> bool:
    """Whether this is a Fernet key: 32 bytes in URL-safe base64."""
    return re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) is not None


def _secret_keys(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        keys = _split_keys(value)
        if not 1 <= len(keys) <= _MOST_KEYS or not all(map(is_secret_key, keys)):
            raise ValueError("should be one or two keys, comma-separated, as `regatta secret-key` prints them")
    return value


def _split_keys(value: SecretStr) -> tuple[str, ...]:
    return tuple(part for each in value.get_secret_value().split(",") if (part := each.strip()))


_MOST_KEYS: Final = 2


def _listed(value: object) -> object:
    """Comma-separated in the environment: JSON is what nobody wants to write into a shell."""
    return tuple(part for each in value.split(",") if (part := each.strip())) if isinstance(value, str) else value


PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """What a deployment may choose. Durations are seconds. An empty variable counts as absent."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    # Where it listens
    host: str = Field("127.0.0.1", min_length=1, description="Address to bind. Anything but loopback needs INSECURE.")
    port: int = Field(8000, ge=1, le=65535, description="Port to bind.")
    insecure: bool = Field(
        default=False, description="Allow a host that is not loopback, although there is no login: anyone may call."
    )
    allowed_hosts: Names = Field(
        (),
        description="Names by which clients address the server, `*` for any; comma-separated. "
        "Absent: on loopback its names alone (a page could rebind its own name), else any.",
    )
    allowed_origins: Origins = Field(
        (), description="Other origins whose pages may call, over HTTP and websocket; comma-separated, `*` for all."
    )
    max_request_bytes: PositiveInt = Field(4_000_000, description="Largest body of a request and largest message.")
    max_subscriptions: PositiveInt = Field(100, description="Most subscriptions on one websocket.")
    export_seconds: PositiveFloat = Field(
        600.0, le=86_400, description="Longest a download of an export may take; then its connection is cut."
    )

    # Where the data is
    database_url: PostgresUrl | None = Field(
        None,
        description="PostgreSQL 15 or newer, with `?sslmode=verify-full&sslrootcert=…` over TLS; absent: the embedded"
        " one, its data in DATA_DIR.",
    )
    migration_database_url: PostgresUrl | None = Field(
        None, description="The same database as its owner, for `regatta migrate`; absent: DATABASE_URL."
    )
    broadcast_url: Annotated[str, AfterValidator(_broadcast_url)] | None = Field(
        None, description="Where hints travel: a `redis://` or a PostgreSQL URL; absent: the database."
    )
    data_dir: Path = Field(Path(".regatta"), description="Directory of the embedded PostgreSQL and of files.")
    secret_key: Annotated[SecretStr | None, AfterValidator(_secret_keys)] = Field(
        None,
        description="Fernet key that encrypts the keys and credentials of tenants (`regatta secret-key` makes one); "
        "two, comma-separated, while keys change: the first encrypts, both decrypt. "
        "Absent: none can be stored; with the embedded PostgreSQL, one is made in DATA_DIR.",
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=MAX_RETENTION_DAYS,
        description="Days after their end when the inputs, outputs and events of executions are removed for good, for"
        " tenants that set no `retentionDays` of their own; absent: never.",
    )
    audit_days: int | None = Field(
        None,
        ge=MIN_AUDIT_DAYS,
        le=MAX_AUDIT_DAYS,
        description="Days after which entries of the audit are removed for good, 30 at least; absent: never.",
    )
    pool_size: int = Field(10, ge=2, le=500, description="Most connections of each pool; a process has two pools.")

    # How it runs
    workers: int = Field(1, ge=0, le=64, description="Worker processes that `regatta serve` starts.")
    worker_concurrency: int = Field(10, ge=1, le=1000, description="Executions at once per worker.")
    generation_concurrency: int = Field(
        10, ge=1, le=1000, description="Teams that are generated from objectives at once per worker."
    )
    max_parallel_executions: PositiveInt | None = Field(
        None, description="Executions at once on all workers together; absent: as many as they have places."
    )
    worker_max_cpu_percent: float = Field(
        80.0, gt=0, le=100, description="Above it, of its machine or container, a busy worker takes nothing new."
    )
    worker_max_memory_percent: float = Field(75.0, gt=0, le=100, description="The same of memory.")
    worker_silent_seconds: float = Field(
        12.0,
        ge=6,
        le=3600,
        description="A worker that was not heard of for so long is taken for dead, and its executions go on elsewhere.",
    )
    shutdown_grace_seconds: NonNegativeFloat = Field(
        2.0, le=600, description="How long requests and running tasks may take to end after Ctrl-C."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    log_format: Literal["console", "json"] = Field("console", description="How log lines look.")
    otlp_endpoint: Annotated[str, AfterValidator(_web_url)] | None = Field(
        None,
        description="Base address of a collector of traces that speaks OTLP over HTTP, like `http://collector:4318`;"
        " absent: what `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin say, and without those nothing is traced or sent.",
    )
    trace_sample_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of the traces that begin here that is sent; others keep their own decision."
    )
    metrics: bool = Field(default=True, description="Whether `/metrics` answers, for Prometheus.")
    metrics_tenant_labels: bool = Field(
        default=False,
        description="Whether `/metrics` of workers tells executions, tokens and spend by tenant: as many time series"
        " more as there are tenants, and their ids.",
    )
    worker_metrics_port: int | None = Field(
        None,
        ge=1,
        le=_LAST_PORT,
        description="Port at which the first worker of a machine serves `/metrics`, at HOST; those after it take the"
        " ports after it. Absent: none does.",
    )

    # Models
    model: Annotated[str, AfterValidator(_model)] | None = Field(
        None,
        min_length=1,
        max_length=MAX_MODEL_NAME,
        description="Model of all roles that name none, as LiteLLM calls it; absent: each task is routed to a model of"
        " the catalogue that fits and can be used, a simulated one where no provider has a key.",
    )
    max_output_tokens: int = Field(
        4096, ge=1, le=1_000_000, description="Most tokens of one answer, for roles that set no limit of their own."
    )
    unknown_price: Annotated[str, AfterValidator(_price)] = Field(
        "refuse",
        description="Models without a known price: `refuse` them, or book them at so many dollars per million tokens,"
        " never at zero.",
    )
    simulated_delay_seconds: NonNegativeFloat = Field(
        0.0, le=60, description="Pause of the simulated model before every few words."
    )
    model_timeout_seconds: PositiveFloat = Field(300.0, le=3600, description="Longest a model call may take.")

    # Tools
    search_endpoint: Annotated[str, AfterValidator(_web_url)] | None = Field(
        None, description="Web search: the address of a SearXNG or of Serper; absent: no web search."
    )
    search_kind: Literal["searxng", "serper"] = Field("searxng", description="What answers at SEARCH_ENDPOINT.")
    search_key: SecretStr | None = Field(None, description="Key for SEARCH_ENDPOINT, where it needs one.")
    allowed_private_hosts: Hosts = Field(
        (),
        description="Hosts in private networks that tools, webhooks (by http, too) and models with a `baseUrl` may"
        " reach all the same; comma-separated, no URLs. "
        "`host` is any port of it, `host:port` that one, `[address]:port` for IPv6.",
    )
    files_dir: Path | None = Field(
        None, description="Directory to which the file tools are confined; absent: `files` in DATA_DIR."
    )
    crewai_tools: Names = Field(
        (),
        description="Classes of the package crewai_tools that tools may be made of; comma-separated. "
        "`Class:one+other` lets tools give these arguments, `Class` none. They check no addresses or paths.",
    )

    @classmethod
    def variables(cls) -> Mapping[str, FieldInfo]:
        """Every setting by the name of its environment variable."""
        return {f"{PREFIX}{name.upper()}": field for name, field in cls.model_fields.items()}

    @property
    def owner_url(self) -> str | None:
        """The database as whoever may migrate it; None: the embedded one."""
        return self.migration_database_url or self.database_url

    @property
    def hints_url(self) -> str:
        """Where hints travel. Raises ValueError while nobody has said where the database is."""
        url = self.broadcast_url or self.database_url
        if url is None:
            raise ValueError("the embedded database has no URL before it is started")
        return url

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """The names that a request may be addressed to, without ports."""
        if self.allowed_hosts:
            return tuple(name.lower() for name in self.allowed_hosts)
        return ("127.0.0.1", "localhost", "::1", self.host.lower()) if is_loopback(self.host) else ("*",)

    @property
    def files_path(self) -> Path:
        return self.files_dir or self.data_dir / "files"

    @property
    def price_rule(self) -> PriceRule:
        """What becomes of models without a known price."""
        return PriceRule(None if self.unknown_price == "refuse" else Decimal(self.unknown_price))

    @property
    def secret_keys(self) -> tuple[str, ...]:
        """The keys for stored secrets, the one that encrypts first; empty for none."""
        return _split_keys(self.secret_key) if self.secret_key else ()

    def metrics_port_of(self, index: int) -> int | None:
        """The port at which the worker of this index on this machine serves its metrics; None: it does not."""
        return self.worker_metrics_port + index if self.metrics and self.worker_metrics_port else None

    def with_secret_key(self, key: str) -> Self:
        """The same settings with this key for stored secrets."""
        return self.model_copy(update={"secret_key": SecretStr(key)})

    def with_database(self, url: str) -> Self:
        """The same settings on this database, for instance the embedded one once it runs."""
        return self.model_copy(update={"database_url": url})

    def environment(self) -> dict[str, str]:
        """The settings as environment variables of a child process; secrets included."""
        return {
            f"{PREFIX}{name.upper()}": _as_text(value)
            for name in type(self).model_fields
            if (value := getattr(self, name)) is not None
        }


class BadSettings(Complaint):
    """One line for each setting that is wrong."""

    status = 2

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def load(**options: Any) -> Settings:
    """The settings of this process: the environment, and over it the options that are not None.

    Raises:
        BadSettings: with a line for each that is wrong.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        raise BadSettings(sorted({_line(detail, given) for detail in details})) from None
    if _scheme(settings.broadcast_url or "") == "memory":
        shown = _shown_name("broadcast_url", given)
        raise BadSettings([f"{shown} cannot be memory://: API and worker are separate processes"])
    return settings


def check_binding(settings: Settings) -> None:
    """Refuse to listen where strangers may call; raises BadSettings."""
    if not settings.insecure and not is_loopback(settings.host):
        reason = "is reachable from outside and there is no login yet"
        raise BadSettings([f"{PREFIX}HOST={settings.host} {reason}: choose 127.0.0.1, or allow it with --insecure"])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; of names, only `localhost` is believed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def unknown_variables(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A line for each variable with our prefix that is no setting: most likely a slip of the pen."""
    known = Settings.variables()
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(_TESTS_ONLY) and name not in known:
            short = {each.removeprefix(PREFIX): each for each in known}
            close = difflib.get_close_matches(name.removeprefix(PREFIX), short, n=1)
            yield f"{name} is no setting" + (f": did you mean {short[close[0]]}?" if close else "")


def document() -> str:
    """The text of docs/settings.md."""
    rows = "\n".join(_row(name, field) for name, field in Settings.variables().items())
    return (
        "# Settings\n\n"
        "Environment variables; an empty one counts as absent. Options of the command line win over them"
        " (`regatta serve --help`).\nDurations are in seconds. Names in capitals are other settings, without their"
        f" prefix.\nThis table is made from `app/settings.py`: `python -m app.settings` writes it.\n\n"
        f"| variable | default | what it is |\n|---|---|---|\n{rows}\n\n"
        "The keys of model providers are LiteLLM's own variables (`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`,"
        " `OLLAMA_API_BASE` …).\n"
        f"Models come from these providers: {', '.join(sorted(PROVIDERS))}.\n"
        "A model whose price is unknown is free on ollama, and as `openai/…` when `OPENAI_API_BASE` is an address of"
        " this machine or a private network; elsewhere UNKNOWN_PRICE decides.\n\n"
        "Traces: the standard variables of OpenTelemetry's exporter (`OTEL_EXPORTER_OTLP_ENDPOINT`, `…_HEADERS`,"
        " `…_CERTIFICATE`, `…_TIMEOUT` and their `OTEL_EXPORTER_OTLP_TRACES_…` forms, `OTEL_SERVICE_NAME`,"
        " `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_…`) count;"
        " `OTEL_SDK_DISABLED=true` or `OTEL_TRACES_EXPORTER=none` switches them off.\n\n"
        "Without SECRET_KEY, the embedded deployment keeps its key in the file `secret.key` of DATA_DIR. Back it up:"
        " without it no stored key or credential opens again, and a copy of the database alone is not enough.\n"
        "`regatta rotate-secrets` writes the first key of SECRET_KEY into that file when everything is encrypted with"
        " it; until then the old one stays there.\n"
    )


def _row(name: str, field: FieldInfo) -> str:
    default = _as_text(field.default) if field.default is not None else ""
    return f"| `{name}` | {f'`{default}`' if default else 'none'} | {field.description}{_choices(field)} |"


def _choices(field: FieldInfo) -> str:
    choices = [f"`{each}`" for each in get_args(field.annotation) if isinstance(each, str)]
    return f" One of {', '.join(choices)}." if choices else ""


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _line(detail: ErrorDetails, given: Mapping[str, Any]) -> str:
    name = str(detail["loc"][0])
    if name not in Settings.model_fields:
        return f"{name} is no setting"
    expected = re.sub(r"^(Value error,|Input|String) ", "", detail["msg"]).partition(", unable")[0]
    shown = "" if expected.startswith("should have") else _shown_value(name, detail["input"])  # else it names a part
    return f"{_shown_name(name, given)} {expected}{shown}"


def _shown_name(name: str, given: Mapping[str, Any]) -> str:
    return f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"


def _shown_value(name: str, value: object) -> str:
    """What was given and should not have been, unless it may hold a secret, as any URL of a database does."""
    if Settings.model_fields[name].annotation in {SecretStr, SecretStr | None}:
        return _NOT_SHOWN
    text = str(value)
    if name.endswith(("_url", "_endpoint")):
        scheme, separator, _ = text.partition("://")
        return f", not {scheme}://…" if separator else _NOT_SHOWN
    return f", not {text if len(text) <= _LONGEST_SHOWN else f'{text[:_LONGEST_SHOWN]}…'!r}"


_LONGEST_SHOWN: Final = 80
_NOT_SHOWN: Final = " (value not shown)"

if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
