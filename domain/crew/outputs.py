"""Outputs that have to hold a JSON Schema: how a role is told of it, and the bare JSON of what a model wrote."""

import json
from collections.abc import Mapping
from typing import Any, Final

_FENCE: Final = "```"


def bare(text: str) -> str:
    """The text without the fence that many models put around JSON."""
    inside = text.strip()
    if len(inside) < 2 * len(_FENCE) or not (inside.startswith(_FENCE) and inside.endswith(_FENCE)):
        return inside
    language, _, rest = inside.removeprefix(_FENCE).removesuffix(_FENCE).partition("\n")
    return rest.strip() if language.strip().lower() in {"", "json"} else inside


def expectation(expected_output: str, schema: Mapping[str, Any] | None) -> str:
    """What the role is told to deliver, with the schema where there is one: not every model is held to it otherwise."""
    if schema is None:
        return expected_output
    shown = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"{expected_output}\nThe answer must be nothing but JSON that holds this JSON Schema: {shown}"
