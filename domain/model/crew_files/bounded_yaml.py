"""YAML, read within limits and written in blocks: no aliases, no tags, and the type of each scalar kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, cast

import yaml

from domain.model.crew_files.losses import SHOWN, short

MAX_BYTES = 256_000
MAX_DEPTH = 20
MAX_VALUES = 20_000

# libyaml is ten times as fast: 256 kB must not hold up the other requests of a process.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = cast("Any", yaml.SafeLoader(""))
_TYPE_PREFIX = "tag:yaml.org,2002:"
_WIDTH = 100


class Refused(Exception):
    """Why a text is not read at all; names the line where there is one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read: bytes of UTF-8, levels, and values with their keys."""

    bytes: int = MAX_BYTES
    depth: int = MAX_DEPTH
    values: int = MAX_VALUES


USUAL = Limits()


@dataclass(frozen=True, slots=True)
class Scalar:
    """The text of a value, and the type that YAML 1.1 gives it: str, int, bool, null or another."""

    text: str
    type: str


Node: TypeAlias = Scalar | list["Node"] | dict[str, "Node"]


def read(text: str, limits: Limits = USUAL) -> Node:
    """The only document of the text; a null scalar when it has none.

    Raises:
        Refused: this is no YAML, or more than the limits allow, or uses aliases or tags.
    """
    _check_size(text, limits)
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER), limits).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Refused(f"Line {mark.line + 1 if mark else 1}: {error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Refused("This is no YAML: it has characters that are not allowed.") from error


def _check_size(text: str, limits: Limits) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise Refused(f"Line {text.count(chr(10), 0, error.start) + 1}: this is no valid Unicode.") from error
    if size > limits.bytes:
        raise Refused(f"At most {limits.bytes} bytes.")


class _Builder:
    """Makes values of parser events, so that what is refused is refused before it costs anything."""

    def __init__(self, events: Iterator[yaml.Event], limits: Limits) -> None:
        self.events = events
        self.limits = limits
        self.values = 0

    def document(self) -> Node:
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return Scalar("", "null")
        document = self._value(next(self.events), 0)
        next(self.events)
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise _at_line(after, "a second document begins, one is expected")
        return document

    def _value(self, event: yaml.Event, depth: int) -> Node:
        self._check(event, depth)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(depth)
        return _scalar(cast("yaml.ScalarEvent", event))

    def _check(self, event: yaml.Event, depth: int) -> None:
        self.values += 1
        if isinstance(event, yaml.AliasEvent):
            raise _at_line(event, "aliases are not supported, write the value out")
        if depth > self.limits.depth:
            raise _at_line(event, f"values are nested deeper than {self.limits.depth} levels")
        if self.values > self.limits.values:
            raise _at_line(event, f"more than {self.limits.values} values")
        if getattr(event, "tag", None) not in {None, "!", f"{_TYPE_PREFIX}str"}:
            raise _at_line(event, "tags are not supported")

    def _mapping(self, depth: int) -> dict[str, Node]:
        mapping: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            self._check(event, depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                raise _at_line(event, "a key must be a text")
            if event.value in mapping:
                raise _at_line(event, f"the key '{short(event.value)}' stands here twice")
            mapping[event.value] = self._value(next(self.events), depth + 1)
        return mapping

    def _sequence(self, depth: int) -> list[Node]:
        sequence: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            sequence.append(self._value(event, depth + 1))
        return sequence


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    tag = event.tag
    if tag is None or tag == "!":
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit)
    # The line break at the end of a block is there because the block ends, not because anybody wrote it.
    text = event.value.rstrip("\n") if event.style in {"|", ">"} else event.value
    return Scalar(text, tag.removeprefix(_TYPE_PREFIX))


def _at_line(event: yaml.Event, message: str) -> Refused:
    return Refused(f"Line {cast('Any', event.start_mark).line + 1}: {message}.")


def as_text(node: Node) -> str:
    """The value on one line, to show it."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, list):
        return f"[{', '.join(map(as_text, node))}]"
    return f"{{{', '.join(f'{key}: {as_text(value)}' for key, value in node.items())}}}"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML calls it with the value
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(f"{_TYPE_PREFIX}str", text, _style(text))


def _style(text: str) -> str | None:
    """A block where it brings back exactly this text, quotes with escapes where PyYAML's choice would not."""
    lines = text.split("\n")
    is_plain = all(line.isprintable() for line in lines)
    is_block = lines[0][:1].strip() and lines[-1] and all(line == line.rstrip() for line in lines)
    if not is_plain or (len(lines) > 1 and not is_block):
        return '"'
    if len(lines) > 1:
        return "|"
    return ">" if len(text) > SHOWN and is_block and "  " not in text else None


def _represent_number(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    """In plain digits, as people write it: what reads this takes no exponents."""
    digits = format(Decimal(repr(number)), "f")
    return dumper.represent_scalar(f"{_TYPE_PREFIX}float", digits if "." in digits else f"{digits}.0")


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(float, _represent_number)


def write(entries: Mapping[str, Any]) -> str:
    """The entries in their order, an empty line between them; long texts as blocks."""
    texts = [
        yaml.dump({key: entry}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
        for key, entry in entries.items()
    ]
    return "\n".join(texts) or "{}\n"
