"""Texts as PostgreSQL can store them, and values as people and models read them."""

import json
import re
from typing import Any

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot store replaced by U+FFFD or a question mark."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def shown(value: Any) -> str:
    """A JSON value inside a text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def digits_of(number: float) -> str:
    """The number without a fraction of zero: 3600, not 3600.0."""
    return str(int(number)) if number == int(number) else str(number)


def seconds_of(seconds: float) -> str:
    """A duration: “1 second”, “1.5 seconds”."""
    return "1 second" if seconds == 1 else f"{digits_of(seconds)} seconds"


def spaced(name: str) -> str:
    """The name of a kind of thing as people write it: “task execution” for TaskExecution."""
    return _HUMP.sub(" ", name).lower()


def camel(name: str) -> str:
    """A field's name as the graph has it: `depends_on` becomes `dependsOn`."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
