"""Log lines of all processes, ours and those of libraries, in one form on standard error."""

import logging
import sys
import warnings
from typing import Any, Final

import structlog

from app.tracing import add_span_ids

_CHATTY: Final = (
    "uvicorn",
    "crewai",
    "crewai_core",
    "httpx",
    "httpcore",
    "LiteLLM",
    "dbos",
    "alembic",
    "websockets",
    "gql",
)
"""Libraries that report their every step at level info."""


def configure_logging(level: str, form: str) -> None:
    """Log from `level` on; `form` is "console" for people or "json" for programs, a line each."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_span_ids,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.UnicodeDecoder(),
    ]
    _through_logging(shared)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=_last(form), foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # it logs what servers sent, which may repeat a credential
    _tame_dbos(handler)
    logging.captureWarnings(capture=True)  # else they are printed, in a form of their own
    ignore_warnings()


def ignore_warnings() -> None:
    """Leave out what libraries warn of each other; before they are imported, for that is when they do."""
    warnings.filterwarnings("ignore", message="Item '.*' on TypedDict class", category=UserWarning)


def _tame_dbos(handler: logging.Handler) -> None:
    """DBOS writes to a handler of its own, unless there is one already."""
    dbos = logging.getLogger("dbos")
    dbos.handlers = [handler]
    dbos.propagate = False
    dbos.addFilter(_is_news)
    dbos.addFilter(_on_one_line)


def _is_news(record: logging.LogRecord) -> bool:
    """A worker that stops leaves what it has to others: that a task is cancelled for it is no event."""
    return not record.getMessage().startswith("Asyncio task cancelled for workflow or step")


def _on_one_line(record: logging.LogRecord) -> bool:
    """Cut a record to its first line: after that its database driver explains itself, with statements and traces."""
    record.msg, record.args = record.getMessage().strip().partition("\n")[0], None
    record.exc_info = record.exc_text = record.stack_info = None
    return True


def _through_logging(shared: list[Any]) -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # tests configure it anew
    )


def _last(form: str) -> list[Any]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if form == "json":
        return [without_meta, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [without_meta, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
