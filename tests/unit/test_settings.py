"""Settings: where they come from, what is refused and in which words, and the table that documents them."""

import re
import sys
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from app import migrations, serve
from app.cli import main
from app.settings import (
    DOCUMENT,
    BadSettings,
    Settings,
    check_binding,
    document,
    is_loopback,
    load,
    unknown_variables,
)
from domain.model.availability import PriceRule
from persistence.urls import asyncpg_arguments, asyncpg_url, plain_url


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.variables():
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_everything_has_a_default() -> None:
    settings = load()

    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.database_url is None
    assert settings.model is None
    assert settings.price_rule == PriceRule()
    assert settings.files_path == Path(".regatta/files")


def test_options_win_over_the_environment_and_absent_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_PORT", "9000")
    monkeypatch.setenv("REGATTA_WORKERS", "3")

    settings = load(port=9001, workers=None)

    assert (settings.port, settings.workers) == (9001, 3)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_BROADCAST_URL", "")
    monkeypatch.setenv("REGATTA_MODEL", "")

    settings = load()

    assert settings.broadcast_url is None
    assert settings.model is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_ALLOWED_ORIGINS", "https://a.example.org, http://localhost:3000,")

    assert load().allowed_origins == ("https://a.example.org", "http://localhost:3000")


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "abc", "REGATTA_PORT should be a valid integer, not 'abc'"),
        ("PORT", "70000", "REGATTA_PORT should be less than or equal to 65535, not '70000'"),
        ("LOG_FORMAT", "xml", "REGATTA_LOG_FORMAT should be 'console' or 'json', not 'xml'"),
        ("INSECURE", "perhaps", "REGATTA_INSECURE should be a valid boolean, not 'perhaps'"),
        (
            "ALLOWED_ORIGINS",
            "https://a.example.org/app",
            (
                "REGATTA_ALLOWED_ORIGINS should be origins like https://app.example.org, without a path,"
                " not 'https://a.example.org/app'"
            ),
        ),
        (
            "ALLOWED_ORIGINS",
            "app.example.org",
            (
                "REGATTA_ALLOWED_ORIGINS should be origins like https://app.example.org, without a path,"
                " not 'app.example.org'"
            ),
        ),
        (
            "DATABASE_URL",
            "mysql://me:hidden@db/regatta",
            "REGATTA_DATABASE_URL should be a URL like postgresql://user:password@host:5432/database, not mysql://…",
        ),
        (
            "BROADCAST_URL",
            "amqp://me:hidden@mq",
            "REGATTA_BROADCAST_URL should be a postgresql:// or redis:// URL, not amqp://…",
        ),
        (
            "BROADCAST_URL",
            "memory://",
            "REGATTA_BROADCAST_URL cannot be memory://: API and worker are separate processes",
        ),
        (
            "ALLOWED_PRIVATE_HOSTS",
            "10.0.0.5,http://models.lan:8000/v1",
            (
                "REGATTA_ALLOWED_PRIVATE_HOSTS should be hosts like 10.0.0.5 or models.lan:8000, not URLs,"
                " not 'http://models.lan:8000/v1'"
            ),
        ),
        (
            "SEARCH_ENDPOINT",
            "hidden",
            "REGATTA_SEARCH_ENDPOINT should be a URL like https://host.example.org (value not shown)",
        ),
        (
            "OTLP_ENDPOINT",
            "grpc://me:hidden@collector:4317",
            "REGATTA_OTLP_ENDPOINT should be a URL like https://host.example.org, not grpc://…",
        ),
    ],
)
def test_a_bad_setting_is_told_with_its_name_and_value_and_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(f"REGATTA_{name}", value)

    with pytest.raises(BadSettings) as caught:
        load()

    assert caught.value.lines == (line,)


def test_each_bad_setting_has_a_line_and_options_are_named_as_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGATTA_POOL_SIZE", "1")

    with pytest.raises(BadSettings) as caught:
        load(port=0, data_dri="x")

    assert caught.value.lines == (
        "--port should be greater than or equal to 1, not '0'",
        "REGATTA_POOL_SIZE should be greater than or equal to 2, not '1'",
        "data_dri is no setting",
    )


def test_a_child_process_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        data_dir=Path("/data"),
        insecure=True,
        search_key="hidden",
        allowed_private_hosts=("a.internal", "b.internal:8080"),
        simulated_delay_seconds=0.25,
    ).with_database("postgresql://postgres@/regatta?host=/data/postgres&port=5432")

    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    assert load() == settings
    assert settings.hints_url == settings.owner_url == settings.database_url


def test_a_postgres_url_by_its_short_name_is_the_same() -> None:
    assert load(database_url="postgres://me@db/regatta").database_url == "postgresql://me@db/regatta"


@pytest.mark.parametrize("port", ["1x", "0", "65536", "secret"])
def test_a_database_s_port_that_is_none_is_told_in_one_line_without_the_url(port: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load(database_url=f"postgresql://me:secret@db:{port}/regatta")

    [line] = caught.value.lines
    assert line.startswith("--database-url should be a URL like postgresql://")
    assert line.endswith(", not postgresql://…")
    assert "secret" not in line


def test_a_password_may_look_like_another_part_of_the_url() -> None:
    url = "postgresql://me:a/b:9x@db:5432/regatta"

    assert load(database_url=url).database_url == url


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("channel_binding=require", "should have no parameter channel_binding; TLS is told by sslcert, sslcrl, sslkey"),
        ("ssl=require", "should have no parameter ssl; TLS is told by sslcert"),
        ("host=/run/postgresql&port=x", "should have as port a number"),
        ("sslmode=yes", "should have as sslmode one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("sslmode=verify-full&sslrootcert=/not/there", "should have as sslrootcert a file, and /not/there is none"),
    ],
)
def test_what_not_every_client_of_the_database_understands_is_refused(said: str, told: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load(database_url=f"postgresql://me:secret@db/regatta?{said}")

    [line] = caught.value.lines
    assert line.startswith(f"--database-url {told}")
    assert "secret" not in line


def test_a_database_is_reached_over_tls_as_its_url_says(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    url = f"postgresql://me@db/regatta?sslmode=verify-full&sslrootcert={authority}"

    assert load(database_url=url).database_url == url
    assert (
        asyncpg_arguments(url)["dsn"]
        == f"postgresql://?{urlencode({'sslmode': 'verify-full', 'sslrootcert': authority})}"
    )
    assert not asyncpg_url(url).query
    assert make_url(plain_url(url)) == make_url(url)


def test_a_socket_s_port_is_one_of_the_url_s_parameters() -> None:
    arguments = asyncpg_arguments("postgresql://me@/regatta?host=/run/postgresql&port=5433")

    assert (arguments["host"], arguments["port"]) == ("/run/postgresql", 5433)


def test_a_secret_is_not_shown() -> None:
    assert "hidden" not in repr(load(search_key="hidden"))


def test_without_a_database_there_is_no_way_for_hints_yet() -> None:
    with pytest.raises(ValueError, match="before it is started"):
        _ = load().hints_url


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "localhost.example.org")],
)
def test_only_loopback_is_safe(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_listening_to_strangers_needs_a_word() -> None:
    with pytest.raises(BadSettings, match="no login yet"):
        check_binding(load(host="0.0.0.0"))

    check_binding(load(host="0.0.0.0", insecure=True))


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    environment = {"REGATTA_MODL": "x", "REGATTA_PORT": "1", "REGATTA_TEST_DATABASE_URL": "x", "REGATTA_QQ": "x"}

    assert list(unknown_variables(environment)) == [
        "REGATTA_MODL is no setting: did you mean REGATTA_MODEL?",
        "REGATTA_QQ is no setting",
    ]


def test_the_documented_table_is_up_to_date() -> None:
    assert DOCUMENT.read_text("utf-8") == document()
    assert all(f"| `{name}` |" in document() for name in Settings.variables())


@pytest.mark.parametrize(
    ("arguments", "status", "error"),
    [
        (
            ["serve", "--host", "0.0.0.0"],
            2,
            (
                "regatta: REGATTA_HOST=0.0.0.0 is reachable from outside and there is no login yet: choose 127.0.0.1,"
                " or allow it with --insecure\n"
            ),
        ),
        (["serve", "--port", "0"], 2, "regatta: --port should be greater than or equal to 1, not '0'\n"),
        (["worker"], 1, "regatta: REGATTA_DATABASE_URL is needed: the embedded database belongs to `regatta serve`\n"),
    ],
)
def test_the_command_line_complains_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    error: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["regatta", *arguments])

    with pytest.raises(SystemExit) as ended:
        main()

    assert (ended.value.code, capsys.readouterr().err) == (status, error)


def test_a_variable_that_is_no_setting_is_a_warning_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REGATTA_MODL", "x")
    monkeypatch.setattr(sys, "argv", ["regatta", "worker"])

    with pytest.raises(SystemExit):
        main()

    assert "warning: REGATTA_MODL is no setting" in capsys.readouterr().err


def test_who_may_not_make_the_role_is_told_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(_url: str) -> None:
        raise DBAPIError("CREATE ROLE", None, Exception("permission denied to create role"))

    monkeypatch.setenv("REGATTA_DATABASE_URL", "postgresql://owner@db/regatta")
    monkeypatch.setattr(serve, "revision_of", lambda _url: None)
    monkeypatch.setattr(migrations, "migrate", refused)
    monkeypatch.setattr(sys, "argv", ["regatta", "migrate"])

    with pytest.raises(SystemExit):
        main()

    assert capsys.readouterr().err == (
        "regatta: the migration failed: permission denied to create role\n"
        "regatta: the owner needs CREATEROLE: ALTER ROLE … CREATEROLE\n"
    )


def test_the_command_tells_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["regatta", "--version"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert re.fullmatch(r"regatta \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize("command", [[], ["serve"], ["worker"], ["migrate"], ["demo"], ["export-schema"]])
def test_every_command_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["regatta", *command, "--help"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert "Usage: regatta" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["github_copilot/gpt-4o", "bedrock/x", "os.environ/KEY"])
def test_the_model_is_one_that_may_be_called(model: str) -> None:
    with pytest.raises(BadSettings, match=r"^--model should be a model of anthropic, "):
        load(model=model)


def test_the_model_may_be_a_bare_name() -> None:
    assert load(model="gpt-4o-mini").model == "gpt-4o-mini"


def test_a_bare_name_that_nothing_ships_under_needs_its_provider() -> None:
    with pytest.raises(BadSettings, match="--model should begin with its provider, like openai/gpt-4o-mini"):
        load(model="gpt-99")


@pytest.mark.parametrize(("text", "price"), [("refuse", None), ("15", Decimal(15)), ("0.5", Decimal("0.5"))])
def test_a_model_without_a_price_is_refused_or_booked_at_one(
    monkeypatch: pytest.MonkeyPatch, text: str, price: Decimal | None
) -> None:
    monkeypatch.setenv("REGATTA_UNKNOWN_PRICE", text)

    assert load().price_rule == PriceRule(price)


@pytest.mark.parametrize("text", ["free", "-1", "NaN", "1e99", "0", "0.00"])
def test_a_price_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REGATTA_UNKNOWN_PRICE", text)

    with pytest.raises(BadSettings, match="REGATTA_UNKNOWN_PRICE should be `refuse`, or dollars per million"):
        load()
