"""What is logged, and what of libraries is not."""

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from app.observability import configure_logging
from app.tracing import open_span
from tests.support.spans import KeptSpans, traceparent_of


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    names = ("", "dbos", "mcp")
    before = [(logging.getLogger(name), dict(logging.getLogger(name).__dict__)) for name in names]
    with warnings.catch_warnings():
        yield
        logging.captureWarnings(capture=False)
    for logger, attributes in before:
        logger.handlers, logger.level = attributes["handlers"], attributes["level"]
        logger.propagate, logger.filters = attributes["propagate"], []
    structlog.reset_defaults()


def test_dbos_has_one_line_for_each_warning_without_its_driver_s_explanations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")

    logging.getLogger("dbos").info("It is well.")
    logging.getLogger("dbos").warning("Asyncio task cancelled for workflow or step <function …>")
    error = ConnectionError("connection failed\nIs the server running?")
    logging.getLogger("dbos").warning("Exception in queue: %s", error, exc_info=error)

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "Exception in queue: connection failed"


def test_warnings_are_lines_like_others_and_those_of_libraries_about_each_other_are_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    warnings.simplefilter("always")
    configure_logging("info", "json")

    warnings.warn("Item 'x' on TypedDict class 'Y' is ignored", UserWarning, stacklevel=1)
    warnings.warn("Something else", UserWarning, stacklevel=1)

    (line,) = capsys.readouterr().err.splitlines()
    assert "UserWarning: Something else" in json.loads(line)["event"]


def test_what_mcp_servers_sent_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")

    logging.getLogger("mcp.client.streamable_http").error("Raw result: Bearer secret")

    assert capsys.readouterr().err == ""


def _two_lines() -> None:
    """One of ours and one of a library."""
    structlog.get_logger("app.x").info("ours", detail=1)
    logging.getLogger("some.library").warning("theirs %s", 2)


def test_json_lines_of_us_and_of_libraries_say_in_which_request_and_span_they_were_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")
    spans = KeptSpans()

    with bound_contextvars(request_id="r1"), spans.tracing.span("outer"), spans.tracing.span("inner"):
        _two_lines()
    _two_lines()

    ours, theirs, *later = map(json.loads, capsys.readouterr().err.splitlines())
    named = f"00-{ours['trace_id']}-{ours['span_id']}-01"
    assert named == traceparent_of(spans.one("inner"))
    assert {name: theirs[name] for name in ("trace_id", "span_id", "request_id", "event")} == {
        "trace_id": ours["trace_id"],
        "span_id": ours["span_id"],
        "request_id": "r1",
        "event": "theirs 2",
    }
    assert (ours["request_id"], ours["detail"], ours["level"]) == ("r1", 1, "info")
    assert not [line for line in later if {"trace_id", "span_id", "request_id"} & line.keys()]
    assert open_span.get() is None


def test_lines_for_people_have_the_ids_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    spans = KeptSpans()

    with bound_contextvars(request_id="r1"), spans.tracing.span("only"):
        _two_lines()

    trace_id = traceparent_of(spans.one("only"))[3:35]
    for line in capsys.readouterr().err.splitlines():
        assert "request_id=r1" in line
        assert f"trace_id={trace_id}" in line
