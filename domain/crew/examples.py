"""A plain value that holds a JSON Schema of the usual kinds, for the simulated models: types, limits, references."""

from typing import Any, Final

_WORD: Final = "simulated"
_MOST_LEVELS: Final = 20
_MOST_PARTS: Final = 1000
"""A schema that refers to itself describes values without end."""

_MOST_CHARACTERS: Final = 10_000
_SHARE: Final = 0.85
"""Of a number from 0 to 1: most often a score, and a demo goes on with a good one."""


def example_of(schema: Any) -> Any:
    """The value; one that does not hold the schema where that asks for more than is known here."""
    return _Example(schema).value(schema, 0)


class _Example:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _MOST_PARTS

    def value(self, schema: Any, level: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or level > _MOST_LEVELS or self._left < 0:
            return _WORD
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        for name in ("enum", "examples"):
            if schema.get(name):
                return schema[name][0]
        inner = self._inner(schema)
        return self._of_kind(schema, level + 1) if inner is None else self.value(inner, level + 1)

    def _inner(self, schema: dict[str, Any]) -> Any:
        """The schema that stands for this one, if another does."""
        if "$ref" in schema:
            return self._referred(str(schema["$ref"]))
        return next((schema[name][0] for name in ("anyOf", "oneOf", "allOf") if schema.get(name)), None)

    def _referred(self, reference: str) -> Any:
        found = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part, {}) if isinstance(found, dict) else {}
        return found

    def _of_kind(self, schema: dict[str, Any], level: int) -> Any:
        match _kind_of(schema):
            case "object":
                properties = schema.get("properties", {})
                names = schema.get("required", properties)
                return {name: self.value(properties.get(name, {}), level) for name in names}
            case "array":
                count = min(max(int(schema.get("minItems", 1)), 1), max(self._left, 1))
                return [self.value(schema.get("items", {}), level) for _ in range(count)]
            case "integer" | "number":
                return _number(schema)
            case "string":
                return _text(schema)
            case "boolean":
                return False
            case _:
                return None


def _kind_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return str(kind[0] if isinstance(kind, list) else kind)


def _number(schema: dict[str, Any]) -> Any:
    if (schema.get("type"), schema.get("minimum"), schema.get("maximum")) == ("number", 0, 1):
        return _SHARE
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    return min(lowest, schema.get("maximum", lowest))


def _text(schema: dict[str, Any]) -> str:
    least, most = (int(schema.get(name, default)) for name, default in (("minLength", 0), ("maxLength", len(_WORD))))
    return _WORD.ljust(min(least, _MOST_CHARACTERS), ".")[: max(least, most)]
