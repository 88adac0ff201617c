"""What is logged, and what of libraries is not."""

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from app.observability import configure_logging


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    names = ("", "dbos", "mcp")
    before = [(logging.getLogger(name), dict(logging.getLogger(name).__dict__)) for name in names]
    with warnings.catch_warnings():
        yield
    for logger, attributes in before:
        logger.handlers, logger.level = attributes["handlers"], attributes["level"]
        logger.propagate, logger.filters = attributes["propagate"], []
    structlog.reset_defaults()


def test_dbos_has_one_line_for_each_warning_without_its_driver_s_explanations(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")

    logging.getLogger("dbos").info("It is well.")
    error = ConnectionError("connection failed\nIs the server running?")
    logging.getLogger("dbos").warning("Exception in queue: %s", error, exc_info=error)

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "Exception in queue: connection failed"


def test_the_warnings_of_libraries_about_each_other_are_left_out() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        configure_logging("info", "json")
        warnings.warn("Item 'x' on TypedDict class 'Y' is ignored", UserWarning, stacklevel=1)
        warnings.warn("Something else", UserWarning, stacklevel=1)

    assert [str(each.message) for each in caught] == ["Something else"]


def test_what_mcp_servers_sent_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")

    logging.getLogger("mcp.client.streamable_http").error("Raw result: Bearer secret")

    assert capsys.readouterr().err == ""
