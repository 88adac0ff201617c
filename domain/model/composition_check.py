"""What a model answered when it was asked for a team: read within bounds, and held to the constraints. Trusts nothing.

All that is wrong is told at once, for the one round in which the model may put it right.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from domain.errors import Invalid, Problem
from domain.model.blueprint import Blueprint, ToolBlueprint, as_document, from_document
from domain.model.composition_prompt import answer_schema
from domain.model.generation import Constraints
from domain.model.output_schema import problems_of
from domain.model.rules import MAX_DEPTH
from domain.model.texts import storable
from domain.model.tool import Tool

MAX_ANSWER: Final = 200_000
"""So many characters of an answer are looked at: several times a team of twenty roles."""

MOST_PROBLEMS: Final = 20
_NOTHING: Final = "This is no JSON object."
_SHOWN: Final = 300
_NULLABLE: Final = frozenset({"manager", "supervisor", "role", "guardrail"})


def proposal_of(
    answer: str, constraints: Constraints, tools: Sequence[Tool], present: Blueprint | None = None
) -> Blueprint:
    """The team that the answer describes; of `present`, what the answer leaves out.

    Raises Invalid with all that is wrong with it: no JSON, another shape, references and cycles, broken constraints.
    """
    document = _read(answer)
    wrong = problems_of(document, answer_schema(is_new=present is None), MOST_PROBLEMS)
    if wrong:
        raise Invalid([Problem(each, ()) for each in wrong])
    blueprint = from_document(_whole(document, tools, present))
    problems = problems_with(blueprint, constraints, tools)
    try:
        blueprint.check()
    except Invalid as error:
        # A tool that is not allowed is told once.
        problems += [each for each in error.problems if each.path[2:3] != ("tools",)]
    if problems:
        raise Invalid(problems[:MOST_PROBLEMS])
    return blueprint


def sentences(error: Invalid) -> list[str]:
    """The problems as a model is told them: each with its place."""
    return [_sentence(problem) for problem in error.problems[:MOST_PROBLEMS]]


def _sentence(problem: Problem) -> str:
    place = f"At {'/'.join(problem.path)}: " if problem.path else ""
    return f"{place}{problem.message}"[:_SHOWN]


def problems_with(blueprint: Blueprint, constraints: Constraints, tools: Sequence[Tool]) -> list[Problem]:
    """What of the blueprint breaks the constraints, whoever composed it; `tools` are those that roles may have."""
    problems = []
    count, most = len(blueprint.roles), constraints.most_roles
    if not blueprint.roles:
        problems.append(Problem("The team needs a role.", ("roles",)))
    if not blueprint.tasks:
        problems.append(Problem("The team needs a task.", ("tasks",)))
    if count > most:
        problems.append(Problem(f"At most {most} {'role' if most == 1 else 'roles'}: these are {count}.", ("roles",)))
    return [*problems, *_too_expert(blueprint, constraints), *_not_allowed(blueprint, tools)]


def _too_expert(blueprint: Blueprint, constraints: Constraints) -> Iterator[Problem]:
    highest = constraints.expertise
    for place, role in enumerate(blueprint.roles):
        if highest is not None and highest < role.expertise:
            message = f"{role.expertise.value} is above {highest.value}, the highest that is allowed."
            yield Problem(message, ("roles", str(place), "expertise"))


def _not_allowed(blueprint: Blueprint, tools: Sequence[Tool]) -> Iterator[Problem]:
    allowed = {tool.name for tool in tools}
    listed = ", ".join(sorted(allowed)) or "none"
    for place, role in enumerate(blueprint.roles):
        for number, name in enumerate(role.tools):
            if name not in allowed:
                message = f"There is no tool {name[:_SHOWN]!r} that a role may have here. There is: {listed}."
                yield Problem(message, ("roles", str(place), "tools", str(number)))


# ---------------------------------------------------------------- reading

_MARK: Final = re.compile(r'[{}"\\]')


def _read(answer: str) -> Any:
    """The one JSON object of the answer, which may stand in a fence or between sentences. Raises Invalid."""
    if len(answer) > MAX_ANSWER:
        raise Invalid.at(f"The answer has more than {MAX_ANSWER:,} characters.")
    found, is_open = [], False
    for part in _objects(answer):
        is_open = part is None
        value = None if part is None else _value(part)
        if isinstance(value, dict):
            found.append(value)
    if len(found) > 1:
        raise Invalid.at(f"One JSON object is expected, and these are {len(found)}.")
    if not found or is_open:
        raise Invalid.at("The JSON breaks off before its end." if is_open else _NOTHING)
    return _clean(found[0])


def _objects(answer: str) -> Iterator[str | None]:
    """The stretches between braces that match, in one pass; None at the end for braces that are never closed."""
    depth = start = skip = 0
    in_text = False
    for mark in _MARK.finditer(answer):
        sign, place = mark.group(), mark.start()
        if place < skip:
            continue
        if in_text:
            if sign == "\\":
                skip = place + 2  # whatever it escapes
            in_text = sign != '"'
        elif sign == '"':
            in_text = depth > 0  # outside, quotes are those of prose
        elif sign == "{":
            start = place if depth == 0 else start
            depth += 1
        elif sign == "}" and depth:
            depth -= 1
            if depth == 0:
                yield answer[start : place + 1]
    if depth:
        yield None


def _value(text: str) -> Any:
    """The value, or None for what is no JSON: braces stand in prose, too."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which Python's reader takes


def _clean(value: Any, depth: int = 0) -> Any:
    """The value with texts that can be stored. Raises Invalid for one that is too deep."""
    if depth > MAX_DEPTH:
        raise Invalid.at(f"The JSON has more than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        return {storable(name): _clean(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    return storable(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- the whole team


def _whole(answer: Mapping[str, Any], tools: Sequence[Tool], present: Blueprint | None) -> dict[str, Any]:
    """The answer as a blueprint's document, with what it cannot decide: that stays as it is at present."""
    before = {} if present is None else as_document(present)
    roles = [_part(role, "title", before.get("roles", ())) for role in answer["roles"]]
    tasks = [_part(task, "name", before.get("tasks", ())) for task in answer["tasks"]]
    document = {**before, **_given(answer), "roles": roles, "tasks": tasks}
    if present is not None:
        document["name"] = present.name  # others know it by that
    used = {name for role in roles for name in role.get("tools", ())}
    document["tools"] = [as_part(tool) for tool in tools if tool.name in used]
    return document


def _part(part: Mapping[str, Any], label: str, before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    earlier = next((each for each in before if each[label] == part[label]), {})
    return {**earlier, **_given(part)}


def _given(part: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a part: nothing, or an empty text, where a name is expected, names nobody."""
    return {name: (value or None) if name in _NULLABLE else value for name, value in part.items()}


def as_part(tool: Tool) -> ToolBlueprint:
    """The tool of the project as a blueprint names it."""
    return ToolBlueprint(
        name=tool.name,
        kind=tool.kind,
        description=tool.description,
        configuration=dict(tool.configuration),
        is_idempotent=tool.is_idempotent,
    )
