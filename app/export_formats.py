"""Rows as CSV (RFC 4180) and as JSON Lines; what stands in them is somebody else's business."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from app.graphql import encode
from domain.model.exports import ExportFormat

Row = Mapping[str, object]
Encoder = Callable[[Row], bytes]

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet read a cell as a formula; the last four are the first ones in full width."""


def heading(form: ExportFormat, columns: Sequence[str]) -> bytes:
    """What comes before the rows: the names of the columns, or nothing."""
    return _line([_title(column) for column in columns]) if form is ExportFormat.CSV else b""


def encoder(form: ExportFormat, columns: Sequence[str]) -> Encoder:
    """A function that writes a row, its line ended.

    A column is a name, or a path into a nested mapping (`usage.cost`) whose last part is its title; JSON Lines have the
    rows as they are, nested.
    """
    if form is ExportFormat.JSON_LINES:
        return lambda row: encode(dict(row)) + b"\n"
    paths = [column.split(".") for column in columns]
    return lambda row: _line([_cell(_at(row, path)) for path in paths])


def _title(column: str) -> str:
    return column.rpartition(".")[2]


def _at(row: Row, path: Sequence[str]) -> object:
    value: object = row
    for name in path:
        value = value[name] if isinstance(value, Mapping) else None
    return value


def _line(cells: Sequence[str]) -> bytes:
    """All in quotes: where a semicolon parts the cells, one within a text would begin a cell that nobody guards."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    """Empty for None. A number stays a number, also a negative one: only texts are guarded."""
    if isinstance(value, Enum):
        return _cell(value.value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else _plain(value)


def _plain(value: object) -> str:
    """What no spreadsheet reads as a formula of somebody's making."""
    match value:
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat()
        case Mapping() | list() | tuple() | bool():
            return _json(value)
        case _:
            return str(value)


def _json(value: Any) -> str:
    """A value with parts of its own, in one cell."""
    return encode(value).decode()
