"""Spans: what took how long, for whom, and what it was part of, for whoever collects traces.

A trace is named as W3C's Trace Context has it (`traceparent`), a text that a row can keep. No prompt, answer, input or
secret is ever an attribute: a trace is read by people who may not read those.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Final, Protocol, Self, TypeAlias

AttributeValue: TypeAlias = str | int | float | bool
Attributes: TypeAlias = Mapping[str, AttributeValue | None]
"""Names by OpenTelemetry's semantic conventions where they have one, else `regatta.…`; None is left out."""


class SpanKind(Enum):
    """How a span stands to the next one."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    """It answers somebody."""
    CLIENT = "CLIENT"
    """It waits for somebody's answer."""
    PRODUCER = "PRODUCER"
    """It hands over what is done later, by somebody else."""
    CONSUMER = "CONSUMER"
    """It does what was handed over."""


class Span(Protocol):
    """Something that is under way; may be used from any thread."""

    @property
    def traceparent(self) -> str | None:
        """What others name as their parent to be part of it; None where nothing is traced."""
        ...

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None:
        """It went wrong; a code or the name of a class, no text that may hold anything."""
        ...


class Tracing(Protocol):
    """Makes spans. A span is that of the task or thread that opened it, and of all that is begun there meanwhile."""

    def span(
        self,
        name: str,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
    ) -> AbstractContextManager[Span]:
        """A span for as long as the block lasts; what it raises is noted by its type, and passes.

        It is part of `parent`, a traceparent, and the first of a trace where that cannot be read; without one it is
        part of the span that is open here, or else the first of a trace. The name is one of few: ids are attributes.
        """
        ...

    def past(
        self, name: str, began: datetime, ended: datetime, attributes: Attributes, *, parent: str | None = None
    ) -> None:
        """A span of something that is over, part of `parent` as above; one that ended before it began took no time."""
        ...

    def current(self) -> str | None:
        """The traceparent of the span that is open here; None without one."""
        ...


class _NoSpan:
    traceparent: None = None

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


_NO_SPAN: Final = _NoSpan()


class _NoTracing:
    def span(
        self,
        name: str,  # noqa: ARG002 - the port's signature, here and below
        attributes: Attributes | None = None,  # noqa: ARG002
        *,
        kind: SpanKind = SpanKind.INTERNAL,  # noqa: ARG002
        parent: str | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[Span]:
        return _NO_SPAN

    def past(
        self, name: str, began: datetime, ended: datetime, attributes: Attributes, *, parent: str | None = None
    ) -> None: ...

    def current(self) -> str | None:
        return None


NO_TRACING: Final[Tracing] = _NoTracing()
"""Where nobody collects traces: nothing is made, and nothing is sent."""
