"""Parameters in the texts of a blueprint, written `{{name}}`: what a template may hold, and filling it.

All texts are filled in one pass, so that what a value brings is never taken for a parameter. `{name}` is something
else, and left alone: an input that a kickoff gives.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from domain.errors import Invalid, Problem
from domain.model.blueprint import MOST_PARTS, Blueprint, TaskBlueprint, as_document, from_document
from domain.model.documents import to_document
from domain.model.parameter_values import problems_of_parameters, problems_of_value, settled
from domain.model.rules import Rules
from domain.model.task import placeholders
from domain.model.template import (
    MAX_CONTENT,
    MAX_VALUES,
    MOST_PARAMETERS,
    Parameter,
    ParameterType,
    TemplateContent,
    TemplateKind,
)
from domain.model.texts import camel, digits_of

MOST_PROBLEMS: Final = 100
MOST_FILLED: Final = 2_000_000
"""The most characters of a filled blueprint: a long value may stand in it very often."""

REFERENCE: Final = re.compile(r"\{\{ *([A-Za-z_][A-Za-z0-9_]*) *}}")
_WRONG: Final = re.compile(r"\{\{[\w .\-]{1,80}}}")
"""What was probably meant to be one; other double braces are those of JSON, LaTeX and other languages."""

_FREE: Final = frozenset({"configuration", "model_parameters", "output_schema"})
"""Fields that are JSON of any shape, in which a number has to stay one."""

Path: TypeAlias = tuple[str, ...]


def reference(name: str) -> str:
    """How a text refers to the parameter of this name."""
    return f"{{{{{name}}}}}"


def references(blueprint: Blueprint) -> dict[str, list[Path]]:
    """The names of parameters in its texts, each with the paths at which it stands, in order."""
    found: dict[str, list[Path]] = {}
    for path, text in _texts(as_document(blueprint)):
        for name in dict.fromkeys(REFERENCE.findall(text)):
            found.setdefault(name, []).append(_place(path))
    return found


def check_content(content: TemplateContent, kind: TemplateKind, *under: str) -> None:
    """Hold the rules of what a version of a template has in it.

    Raises Invalid with every broken one, under `parameters` and `blueprint`: what is too large (then nothing else is
    looked at), parameters that are none, names of parameters that there are not, parts that the kind does not have,
    and all that a blueprint may not be.
    """
    check_size(content, *under)
    problems = [*problems_of_parameters(content.parameters)]
    inside = [*_problems_of_kind(content.blueprint, kind), *_problems_of_references(content)]
    if not problems:
        inside += _problems_of_sample(content)
    problems += [Problem(each.message, ("blueprint", *each.path)) for each in inside]
    if problems:
        raise Invalid([Problem(each.message, (*under, *each.path)) for each in problems[:MOST_PROBLEMS]])


def check_size(content: TemplateContent, *under: str) -> None:
    """Raises Invalid where the content is too large, or too deep, to be looked at, written as a file and read again."""
    rules = Rules(*under)
    _hold_documents(rules, content)
    rules.hold()
    document = to_document(TemplateContent, content)
    size = len(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
    rules.require(size <= MAX_CONTENT, f"At most {MAX_CONTENT} characters of JSON in all, not {size}.", "blueprint")
    rules.require(
        size > MAX_CONTENT or _count(document) <= MAX_VALUES, f"At most {MAX_VALUES} values in all.", "blueprint"
    )
    rules.hold()


def _hold_documents(rules: Rules, content: TemplateContent) -> None:
    """JSON of any shape first: what is nested too deeply cannot be written at all."""
    rules.require(len(content.parameters) <= MOST_PARAMETERS, f"At most {MOST_PARAMETERS} parameters.", "parameters")
    for place, parameter in enumerate(content.parameters[:MOST_PARAMETERS]):
        if not _is_flat(parameter.default):
            for problem in problems_of_value(parameter, parameter.default)[:1]:
                rules.refuse(problem.message, "parameters", str(place), "default")
    blueprint = content.blueprint
    for what, parts in (("roles", blueprint.roles), ("tasks", blueprint.tasks), ("tools", blueprint.tools)):
        rules.require(len(parts) <= MOST_PARTS, f"At most {MOST_PARTS} {what}.", "blueprint", what)
    for place, role in enumerate(blueprint.roles[:MOST_PARTS]):
        rules.document(role.model_parameters, "blueprint", "roles", str(place), "modelParameters")
    for place, task in enumerate(blueprint.tasks[:MOST_PARTS]):
        rules.document(task.output_schema, "blueprint", "tasks", str(place), "outputSchema")
    for place, tool in enumerate(blueprint.tools[:MOST_PARTS]):
        rules.document(tool.configuration, "blueprint", "tools", str(place), "configuration")


def _is_flat(value: Any) -> bool:
    return not isinstance(value, dict | list) or (isinstance(value, list) and all(isinstance(it, str) for it in value))


def _count(node: Any) -> int:
    """How many values, and keys, the document has."""
    if isinstance(node, dict):
        return 1 + sum(1 + _count(value) for value in node.values())
    return 1 + sum(map(_count, node)) if isinstance(node, list) else 1


def filled(content: TemplateContent, values: Mapping[str, Any], *under: str) -> Blueprint:
    """The blueprint with the values in it, defaults where none is given; its rules are not checked.

    A list item that is exactly one LIST is replaced by its entries; elsewhere they stand side by side, with commas.

    Raises Invalid, located `under` that path by the parameters' names, with every value that is bad or missing.
    """
    known = settled(content.parameters, dict(values), *under)
    filling = _Filling({parameter.name: parameter for parameter in content.parameters}, known)
    document = as_document(content.blueprint)
    if filling.size_of(document) > MOST_FILLED:
        raise Invalid.at(f"With these values the texts would have more than {MOST_FILLED} characters.", *under)
    return from_document(filling.of(document), *under)


# ---------------------------------------------------------------- filling


@dataclass(frozen=True, slots=True)
class _Filling:
    """Puts values into documents; a parameter without a value stays as it is written."""

    parameters: Mapping[str, Parameter]
    values: Mapping[str, Any]

    def of(self, node: Any, *, is_free: bool = False) -> Any:
        """A copy of the document with all texts filled; `is_free` in JSON of any shape."""
        if isinstance(node, dict):
            return {key: self.of(value, is_free=is_free or key in _FREE) for key, value in node.items()}
        if isinstance(node, list):
            return [each for item in node for each in self._items(item, is_free=is_free)]
        return self._text(node, is_free=is_free) if isinstance(node, str) else node

    def size_of(self, node: Any) -> int:
        """How many characters the texts would have, without making them."""
        return sum(self._length(text) for _, text in _texts(node))

    def _length(self, text: str) -> int:
        names = (match.group(1) for match in REFERENCE.finditer(text))
        return len(text) + sum(len(self._shown(name)) for name in names if name in self.values)

    def _items(self, item: Any, *, is_free: bool) -> list[Any]:
        entries = self._whole(item, ParameterType.LIST)
        return [self.of(item, is_free=is_free)] if entries is None else list(entries)

    def _text(self, text: str, *, is_free: bool) -> Any:
        number = self._whole(text, ParameterType.NUMBER) if is_free else None
        return REFERENCE.sub(self._replacement, text) if number is None else number

    def _whole(self, item: Any, kind: ParameterType) -> Any:
        """The value of the parameter that the item consists of, None unless it is one of this type with a value."""
        match = REFERENCE.fullmatch(item) if isinstance(item, str) else None
        name = match.group(1) if match else ""
        return self.values[name] if name in self.values and self.parameters[name].type is kind else None

    def _replacement(self, match: re.Match[str]) -> str:
        name = match.group(1)
        return self._shown(name) if name in self.values else match.group(0)

    def _shown(self, name: str) -> str:
        value = self.values[name]
        if isinstance(value, list):
            return ", ".join(value)
        return value if isinstance(value, str) else _number(value)


def _number(number: float) -> str:
    """In digits, never with an exponent, which people and models misread."""
    return digits_of(number) if number == int(number) else format(Decimal(repr(number)), "f")


def _texts(node: Any, *path: str) -> Iterator[tuple[Path, str]]:
    """Every text of the document but keys, with its path."""
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _texts(value, *path, key)
    elif isinstance(node, list):
        for place, item in enumerate(node):
            yield from _texts(item, *path, str(place))


# ---------------------------------------------------------------- rules


def _problems_of_kind(blueprint: Blueprint, kind: TemplateKind) -> Iterator[Problem]:
    if kind is TemplateKind.TEAM:
        if not blueprint.roles:
            yield Problem("A team needs at least one role.", ("roles",))
        return
    if len(blueprint.tasks) != 1:
        yield Problem("A template of a task has exactly one task.", ("tasks",))
    if blueprint.roles:
        yield Problem("A template of a task has no roles.", ("roles",))
    if blueprint.tools:
        yield Problem("A template of a task has no tools.", ("tools",))


def _problems_of_references(content: TemplateContent) -> Iterator[Problem]:
    known = {parameter.name for parameter in content.parameters}
    for path, text in _texts(as_document(content.blueprint)):
        for name in dict.fromkeys(REFERENCE.findall(text)):
            if name not in known:
                yield Problem(f"There is no parameter “{name[:80]}”.", _place(path))
        for wrong in dict.fromkeys(_WRONG.findall(REFERENCE.sub(" ", text))):
            yield Problem(f"“{wrong}” names no parameter: letters, digits and _.", _place(path))


def _problems_of_sample(content: TemplateContent) -> list[Problem]:
    """What a blueprint may not be, of the one with defaults in it.

    Texts without a default stay as they are written, so what holds a form that they have not yet is not judged.
    """
    filling = _Filling(
        {parameter.name: parameter for parameter in content.parameters},
        {each.name: value for each in content.parameters if (value := _sample(each)) is not None},
    )
    document = as_document(content.blueprint, is_whole=True)
    if filling.size_of(document) > MOST_FILLED:
        return [Problem(f"With the defaults the texts would have more than {MOST_FILLED} characters.", ())]
    sample = filling.of(document)
    try:
        from_document(sample).check()
    except Invalid as error:
        return [problem for problem in error.problems if not _is_open(sample, problem.path)]
    return []


def _sample(parameter: Parameter) -> Any:
    """Some value that the parameter takes, None where only somebody who knows it could give one."""
    if parameter.default is not None:
        return parameter.default
    if parameter.type is ParameterType.ENUM:
        return parameter.options[0]
    if parameter.type is ParameterType.NUMBER:
        return next((limit for limit in (parameter.least, parameter.most) if limit is not None), 1)
    return None


_FORMED: Final = frozenset({"model", "modelParameters", "configuration", "outputSchema"})
"""Fields that have a form of their own."""


def _is_open(sample: Any, path: Sequence[str]) -> bool:
    """Whether it is a field with a form of its own in which a parameter has no value yet."""
    if _FORMED.isdisjoint(path):
        return False
    node = sample
    for step in path:
        if isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, dict) and (step in node or _snake(step) in node):
            node = node[step] if step in node else node[_snake(step)]
        else:
            break
    return any(REFERENCE.search(text) for _, text in _texts(node))


_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


def _snake(name: str) -> str:
    return _HUMP.sub(r"_\1", name).lower()


def _place(path: Path) -> Path:
    """The path in the words of the graph, as far as it goes through fields."""
    fields = next((place + 1 for place, step in enumerate(path) if step in _FREE), len(path))
    return (*map(camel, path[:fields]), *path[fields:])


def inputs_of(task: TaskBlueprint) -> list[str]:
    """The inputs that a kickoff has to give for the task; references to parameters are none."""
    return placeholders(REFERENCE.sub("", text) for text in (task.description, task.expected_output))
