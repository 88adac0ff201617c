"""From the JSON schema that a stranger's server sends to the arguments of a tool, without following it anywhere."""

import json
from collections.abc import Mapping
from typing import Any, Final

from crewai.utilities.pydantic_schema_utils import create_model_from_schema
from pydantic import BaseModel

from domain.crew.tools.watched import ToolFault

MAX_CHARACTERS: Final = 64_000
MAX_PARTS: Final = 5_000
"""Of the schema with its references written out: a few lines can stand for billions of parts."""


def arguments_of(tool: str, schema: Mapping[str, Any]) -> type[BaseModel]:
    """The arguments of the tool; raises ToolFault for a schema that is none, is too large or refers elsewhere."""
    try:
        _check_size(schema)
        model = create_model_from_schema(dict(schema), model_name=f"{tool}Arguments")
        model.model_json_schema()  # what CrewAI does with it next
    except Exception as error:  # whatever a schema of others does to a library
        reason = str(error) if isinstance(error, ToolFault) else f"it cannot be read ({type(error).__name__})."
        raise ToolFault(f"the arguments of {tool[:100]!r} are described wrongly: {reason}") from error
    return model


def _check_size(schema: Mapping[str, Any]) -> None:
    if len(json.dumps(schema)) > MAX_CHARACTERS:
        raise ToolFault("too large.")
    _Measure(schema).add(schema)


class _Measure:
    """Counts the parts of a schema through its references. A reference to another place would be opened."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._parts = 0
        self._open: set[str] = set()

    def add(self, part: Any) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ToolFault("too large.")
        if isinstance(part, dict):
            if "$ref" in part:
                self._follow(part["$ref"])
            for inner in part.values():
                self.add(inner)
        elif isinstance(part, list):
            for inner in part:
                self.add(inner)

    def _follow(self, reference: Any) -> None:
        # Nor is any reference with escapes: it could mean one thing here and another to who writes it out.
        if not isinstance(reference, str) or not reference.startswith("#") or set("%~") & set(reference):
            raise ToolFault("it refers to another place.")
        if reference in self._open:
            return
        self._open.add(reference)
        self.add(self._target(reference))
        self._open.discard(reference)

    def _target(self, reference: str) -> Any:
        found: Any = self._root
        for step in filter(None, reference.removeprefix("#").split("/")):
            found = found[int(step)] if isinstance(found, list) else found[step]
        return found
