"""Rows as CSV and as JSON Lines."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from app.export_formats import encoder, heading
from app.exports import PIECE, Gate, download
from domain.model.execution import ExecutionStatus
from domain.model.exports import ExportFormat, file_name

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 5, UTC)
COLUMNS = ("name", "usage.cost", "usage.calls", "at", "isDone", "status", "id", "before", "seconds")
ROW = {
    "name": 'A "b", c\r\nd é',
    "usage": {"cost": Decimal("0.000000000100"), "calls": 7},
    "at": MOMENT,
    "isDone": True,
    "status": ExecutionStatus.FAILED,
    "id": UUID(int=1),
    "before": {"a": [1, Decimal("0.10")]},
    "seconds": None,
}


def _cell(value: object) -> str:
    [[cell]] = csv.reader(io.StringIO(encoder(ExportFormat.CSV, ["x"])({"x": value}).decode(), newline=""))
    return cell


def test_csv_has_a_heading_and_a_quoted_line_for_each_row() -> None:
    written = heading(ExportFormat.CSV, COLUMNS) + encoder(ExportFormat.CSV, COLUMNS)(ROW)

    assert written.decode() == (
        '"name","cost","calls","at","isDone","status","id","before","seconds"\r\n'
        '"A ""b"", c\r\nd é","0.000000000100","7","2026-01-31T12:00:00.000005+00:00","true","FAILED",'
        '"00000000-0000-0000-0000-000000000001","{""a"":[1,""0.10""]}",""\r\n'
    )


def test_json_lines_have_no_heading_and_nest() -> None:
    written = heading(ExportFormat.JSON_LINES, COLUMNS) + 2 * encoder(ExportFormat.JSON_LINES, COLUMNS)(ROW)

    first, second, end = written.decode().split("\n")
    assert end == ""
    assert first == second
    assert json.loads(first) == {
        "name": ROW["name"],
        "usage": {"cost": "0.000000000100", "calls": 7},
        "at": "2026-01-31T12:00:00.000005+00:00",
        "isDone": True,
        "status": "FAILED",
        "id": "00000000-0000-0000-0000-000000000001",
        "before": {"a": [1, "0.10"]},
        "seconds": None,
    }


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20SUM(A1)"]
)
def test_a_text_that_a_spreadsheet_would_run_is_guarded(text: str) -> None:
    assert _cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "cell"), [(-1, "-1"), (-0.5, "-0.5"), (Decimal("-0.10"), "-0.10"), ("a=1", "a=1"), ("", "")]
)
def test_numbers_and_harmless_texts_stay_as_they_are(value: object, cell: str) -> None:
    assert _cell(value) == cell


def test_a_semicolon_within_a_text_begins_no_cell() -> None:
    assert encoder(ExportFormat.CSV, ["x"])({"x": "a;=1+1"}) == b'"a;=1+1"\r\n'


async def test_while_a_long_batch_is_encoded_others_have_their_turn() -> None:
    async def batches() -> AsyncGenerator[list[dict[str, object]], None]:
        yield [{"text": "x" * PIECE}] * 20

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(others())
    found = [
        (turns, len(piece)) async for piece in download("x", ExportFormat.CSV, ["text"], batches(), Gate(1, 60)).chunks
    ]
    waiting.cancel()

    assert len({turn for turn, _ in found}) == 20
    assert max(length for _, length in found) < 2 * PIECE


def test_a_heading_names_the_last_part_of_a_path() -> None:
    assert heading(ExportFormat.CSV, ["a", "b.c"]) == b'"a","c"\r\n'


def test_a_file_is_named_after_its_day_and_form() -> None:
    assert file_name("executions", ExportFormat.CSV, MOMENT) == "executions-2026-01-31.csv"
    assert file_name("audit", ExportFormat.JSON_LINES, MOMENT) == "audit-2026-01-31.jsonl"
