"""A template as YAML, read strictly and within limits, and written so that it reads the same."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from domain.errors import Invalid, Problem
from domain.model.blueprint import Blueprint, TaskBlueprint
from domain.model.crew_files.bounded_yaml import Limits, Node, Refused, Scalar, read, write
from domain.model.crew_files.losses import short
from domain.model.identity import DEFAULT_TENANT
from domain.model.parameters import check_content
from domain.model.rules import MAX_DEPTH, Rules
from domain.model.template import MAX_VALUES, Parameter, Template, TemplateContent, TemplateKind

MOST_PROBLEMS: Final = 100
MOST_VERSIONS: Final = 1_000_000

LIMITS: Final = Limits(bytes=2_000_000, depth=MAX_DEPTH + 14, values=2 * MAX_VALUES)
"""So that whatever a template may hold can be read as a file, too: that takes more bytes, levels and keys."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFile:
    """What stands in a file: `team` or `task`, whichever the `kind` makes; `version` is the number of this content."""

    name: str
    description: str = ""
    kind: TemplateKind = TemplateKind.TEAM
    domain: str = ""
    tags: list[str] = field(default_factory=list)
    version: int = 1
    parameters: list[Parameter] = field(default_factory=list)
    team: Blueprint | None = None
    task: TaskBlueprint | None = None

    @property
    def content(self) -> TemplateContent:
        """What a version of the template has in it."""
        blueprint = self.team or Blueprint(name=self.name, tasks=[self.task] if self.task else [])
        return TemplateContent(parameters=self.parameters, blueprint=blueprint)

    @property
    def fields(self) -> dict[str, Any]:
        """What the file says of the template itself, as fields of a Template."""
        return {name: getattr(self, name) for name in ("name", "description", "kind", "domain", "tags")}


def parse_template(text: str, name: str | None = None) -> TemplateFile:
    """The template that the YAML describes, under this name if there is one; it keeps all rules.

    Raises:
        Invalid: no YAML, or beyond the LIMITS (the message names the line), unknown keys, values of another type, a
            broken rule; located by the keys of the file: `("team", "roles", "0", "title")`.
    """
    try:
        document = _value(read(text, LIMITS))
    except Refused as refused:
        raise Invalid.at(str(refused)) from None
    if not isinstance(document, dict):
        raise Invalid.at("A mapping is expected: name, parameters, team.")
    file = _shaped(document if name is None else {"name": name, **document})
    file = file if name is None else replace(file, name=name)
    _hold(file)
    return file


def render_template(template: Template, content: TemplateContent, number: int) -> str:
    """This version of the template as YAML, what is as it is by default left out; `parse_template` reads the same."""
    blueprint = content.blueprint
    is_team = template.kind is TemplateKind.TEAM
    file = TemplateFile(
        name=template.name,
        description=template.description,
        kind=template.kind,
        domain=template.domain,
        tags=template.tags,
        version=number,
        parameters=content.parameters,
        team=blueprint if is_team else None,
        task=None if is_team else blueprint.tasks[0],
    )
    document = _adapter().dump_python(file, mode="json", exclude_defaults=True)
    return write({"name": file.name, "kind": file.kind.value, "version": file.version, **document})


def file_schema() -> dict[str, Any]:
    """The JSON Schema of a file, for editors."""
    return _adapter().json_schema()


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[TemplateFile]:
    return TypeAdapter(TemplateFile)


# ---------------------------------------------------------------- from YAML to values

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9]\d{0,18})", re.ASCII)
_FRACTION: Final = re.compile(r"[-+]?\d{1,400}\.\d{0,400}", re.ASCII)
"""As many digits as a double may have without an exponent."""

_TRUE: Final = frozenset({"true", "yes", "on"})


def _value(node: Node) -> Any:
    """Numbers and flags as they are written, everything else as text. Raises Refused for other spellings of numbers."""
    if isinstance(node, dict):
        return {key: _value(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_value(item) for item in node]
    return _scalar(node)


def _scalar(node: Scalar) -> Any:
    match node.type:
        case "null":
            return None
        case "bool":
            return node.text.lower() in _TRUE
        case "int" if _INTEGER.fullmatch(node.text):
            return int(node.text)
        case "float" if _FRACTION.fullmatch(node.text):
            return float(node.text)
        case "int" | "float":
            raise Refused(f"'{short(node.text)}' is no number in plain digits: write a text in quotes.")
        case _:
            return node.text


def _shaped(document: Mapping[str, Any]) -> TemplateFile:
    given = dict(document)
    if "kind" not in given and "task" in given:
        given["kind"] = TemplateKind.TASK.value
    if isinstance(given.get("team"), dict) and isinstance(given.get("name"), str):
        given["team"] = {"name": given["name"], **given["team"]}
    try:
        return _adapter().validate_python(given)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False, include_context=False)[:MOST_PROBLEMS]
        raise Invalid(
            [Problem(_message(each), tuple(short(str(step)) for step in each["loc"])) for each in told]
        ) from None


def _message(told: Any) -> str:
    if told["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        return "There is no such key."
    if told["type"] in {"missing", "missing_argument", "missing_keyword_only_argument"}:
        return "This is required."
    return f"{told['msg']}."


# ---------------------------------------------------------------- rules


def _hold(file: TemplateFile) -> None:
    """Raises Invalid with every broken rule, in the words of the file."""
    rules = Rules()
    is_team = file.kind is TemplateKind.TEAM
    wanted, other = ("team", "task") if is_team else ("task", "team")
    rules.require(getattr(file, wanted) is not None, f"A {file.kind.value} template needs this.", wanted)
    rules.require(getattr(file, other) is None, f"A {file.kind.value} template has none.", other)
    rules.between(file.version, 1, MOST_VERSIONS, "version")
    problems = [*rules.problems, *_told(Template(DEFAULT_TENANT, **file.fields).check)]
    if getattr(file, wanted) is not None:
        problems += _told(lambda: check_content(file.content, file.kind))
    if problems:
        raise Invalid([Problem(each.message, tuple(_in_file(each.path, wanted))) for each in problems[:MOST_PROBLEMS]])


def _told(check: Any) -> Sequence[Problem]:
    try:
        check()
    except Invalid as error:
        return error.problems
    return ()


def _in_file(path: Sequence[str], part: str) -> Iterator[str]:
    """The path in the words of the file: it has the blueprint under another name, and no camels."""
    if path[:1] != ("blueprint",):
        yield from path
        return
    yield part
    # Of a task's blueprint, the file has its only task alone.
    yield from map(_snake, path[3:] if part == "task" and path[1:2] == ("tasks",) else path[1:])


_HUMP: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")


def _snake(name: str) -> str:
    return _HUMP.sub(r"_\1", name).lower()
