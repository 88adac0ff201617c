"""Limits that every input keeps, and the collector that tells all broken ones at once."""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from domain.errors import Invalid, Problem
from domain.model.texts import digits_of

MAX_NAME = 200
MAX_TEXT = 20_000
MAX_ITEMS = 100
MAX_JSON = 64_000
MAX_DEPTH = 50
MAX_BUDGET = 1_000_000_000
MONEY_DIGITS = 12

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What does not show, or turns around what does: control, direction and line separating characters, surrogates."""

_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON text: an odd number of backslashes, so that a text that speaks of \\u0000 is none."""


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Whether every JSON library on the way can write this value: they limit depth, and integers to 64 bits."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return depth < MAX_DEPTH and all(_is_plain(item, depth + 1) for item in items)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


class Rules:
    """Collects broken rules under a path; `hold` raises them together."""

    def __init__(self, *under: str) -> None:
        self.under = under
        self.problems: list[Problem] = []

    def require(self, condition: object, message: str, *path: str) -> None:
        if not condition:
            self.refuse(message, *path)

    def refuse(self, message: str, *path: str) -> None:
        self.problems.append(Problem(message, (*self.under, *path)))

    def name(self, value: str, *path: str) -> None:
        self._label("name", value, *path)

    def key(self, value: str, *path: str) -> None:
        """An idempotency key: bounded as a name is."""
        self._label("key", value, *path)

    def _label(self, what: str, value: str, *path: str) -> None:
        self.require(value.strip(), f"A {what} is required.", *path)
        self.require(len(value) <= MAX_NAME, f"At most {MAX_NAME} characters.", *path)
        self.require(not _CONTROL.search(value), f"Control characters are not allowed in a {what}.", *path)

    def text(self, value: str | None, *path: str) -> None:
        self.require(len(value or "") <= MAX_TEXT, f"At most {MAX_TEXT} characters.", *path)
        self.require("\x00" not in (value or ""), "The character U+0000 is not allowed.", *path)

    def texts(self, values: Sequence[str], *path: str) -> None:
        self.require(len(values) <= MAX_ITEMS, f"At most {MAX_ITEMS} entries.", *path)
        for index, value in enumerate(values[:MAX_ITEMS]):
            self.require(value.strip(), "An entry must not be empty.", *path, str(index))
            self.require(len(value) <= MAX_NAME * 5, f"At most {MAX_NAME * 5} characters.", *path, str(index))
            self.require("\x00" not in value, "The character U+0000 is not allowed.", *path, str(index))

    def between(self, value: float | None, low: float, high: float, *path: str) -> None:
        inside = value is None or low <= value <= high
        self.require(inside, f"Must be between {digits_of(low)} and {digits_of(high)}.", *path)

    def money(self, value: Decimal | None, high: int, digits: int, *path: str) -> None:
        """An exact amount from 0 to `high` with at most so many decimal digits."""
        if value is None:
            return
        if not value.is_finite() or not 0 <= value <= high:
            self.refuse(f"Must be between 0 and {high}.", *path)
            return
        # Not by `normalize`: it rounds to 28 digits, and what is lost would not be seen.
        is_exact = value == value.quantize(Decimal(1).scaleb(-digits))
        self.require(is_exact, f"At most {digits} decimal digits.", *path)

    def document(self, value: Any, *path: str) -> None:
        """A JSON value of bounded size, without the U+0000 that PostgreSQL cannot store."""
        try:
            text = json.dumps(value, ensure_ascii=True, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            self.refuse("This is no JSON value.", *path)
            return
        self.require(_is_plain(value), f"At most {MAX_DEPTH} levels, and no integer beyond 64 bits.", *path)
        self.require(len(text) <= MAX_JSON, f"At most {MAX_JSON} characters of JSON.", *path)
        self.require(not _ESCAPED_NUL.search(text), "The character U+0000 is not allowed.", *path)

    def hold(self) -> None:
        """Raise Invalid with every problem found; return when there is none."""
        if self.problems:
            raise Invalid(self.problems)
