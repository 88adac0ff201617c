"""What may be a parameter of a template, and which values it takes."""

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from domain.errors import Problem
from domain.model.rules import MAX_ITEMS, MAX_NAME, MAX_TEXT, Rules
from domain.model.template import MOST_PARAMETERS, Parameter, ParameterType
from domain.model.texts import digits_of

MAX_ENTRY: Final = MAX_NAME * 5
"""The longest entry of a list, as everywhere."""

MAX_PARAMETER_NAME: Final = 64
MAX_PATTERN: Final = 100
MAX_MATCHED: Final = 200
"""The longest text that is held against a pattern."""

MAX_WEIGHT: Final = 1_000
"""How heavy a pattern may be, see `weight_of`: one unit takes about 2 kB and some microseconds to compile."""

MAX_WEIGHTS: Final = 5_000
"""How heavy the patterns of a template may be together."""

MOST_DIGITS: Final = 10**15
"""Whole numbers up to here are what they are in every reader of JSON."""

OPENING: Final = "{{"

_NAME: Final = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{MAX_PARAMETER_NAME - 1}}}")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


# ---------------------------------------------------------------- parameters


def problems_of_parameters(parameters: Sequence[Parameter]) -> list[Problem]:
    """What is wrong with the parameters themselves: names, options, limits, patterns, defaults."""
    rules = Rules()
    rules.require(len(parameters) <= MOST_PARAMETERS, f"At most {MOST_PARAMETERS} parameters.", "parameters")
    weights = (min(weight_of(each.pattern or ""), MAX_WEIGHT) for each in parameters[:MOST_PARAMETERS])
    if sum(weights) > MAX_WEIGHTS:
        rules.refuse("The patterns together repeat too much: classes like \\w, and counts like {20}.", "parameters")
        return rules.problems
    seen: set[str] = set()
    for place, parameter in enumerate(parameters[:MOST_PARAMETERS]):
        own = Rules("parameters", str(place))
        own.require(parameter.name not in seen, "Another parameter has this name.", "name")
        seen.add(parameter.name)
        _hold_parameter(own, parameter)
        rules.problems += own.problems
    return rules.problems


def _hold_parameter(rules: Rules, parameter: Parameter) -> None:
    if not _NAME.fullmatch(parameter.name):
        rules.refuse(f"Letters, digits and _, no digit first, at most {MAX_PARAMETER_NAME} characters.", "name")
    rules.text(parameter.description, "description")
    _hold_options(rules, parameter)
    _hold_limits(rules, parameter)
    _hold_pattern(rules, parameter)
    if parameter.default is not None and not rules.problems:
        for problem in problems_of_value(parameter, parameter.default):
            rules.refuse(problem.message, "default", *problem.path)


def _hold_options(rules: Rules, parameter: Parameter) -> None:
    if parameter.type is not ParameterType.ENUM:
        rules.require(not parameter.options, "Only an ENUM has options.", "options")
        return
    rules.require(parameter.options, "An ENUM needs options.", "options")
    rules.texts(parameter.options, "options")
    for place, option in enumerate(parameter.options[:MAX_ITEMS]):
        rules.require(option not in parameter.options[:place], "This option stands here twice.", "options", str(place))
        rules.require(OPENING not in option, _NO_REFERENCE, "options", str(place))


def _hold_limits(rules: Rules, parameter: Parameter) -> None:
    for limit, name in ((parameter.least, "least"), (parameter.most, "most")):
        if limit is None:
            continue
        if parameter.type is ParameterType.ENUM:
            rules.refuse("An ENUM has no limits.", name)
        elif not math.isfinite(limit) or abs(limit) > MOST_DIGITS:
            rules.refuse("A number is expected.", name)
        elif parameter.type is not ParameterType.NUMBER and (limit < 0 or limit != int(limit)):
            rules.refuse("This is how many, so a whole number from 0 on is expected.", name)
    if parameter.least is not None and parameter.most is not None and parameter.least > parameter.most:
        rules.refuse("This is less than the least.", "most")


def _hold_pattern(rules: Rules, parameter: Parameter) -> None:
    if parameter.pattern is None:
        return
    if parameter.type is not ParameterType.STRING:
        rules.refuse("Only a STRING has a pattern.", "pattern")
    elif len(parameter.pattern) > MAX_PATTERN:
        rules.refuse(f"At most {MAX_PATTERN} characters.", "pattern")
    elif weight_of(parameter.pattern) > MAX_WEIGHT:
        rules.refuse("This repeats too much: fewer classes like \\w, lower counts than in {20}, no flag x.", "pattern")
    elif not _is_pattern(parameter.pattern):
        rules.refuse("This is no regular expression, without look-around and back-references.", "pattern")


_TOKEN: Final = re.compile(
    r"(?P<class>\\[pP](?:\{[^}]*}|.)|\\[wWdD]|\[:\^?\w+:])"
    r"|(?P<one>\\[xuU]\{[^}]*}|\\.)"
    r"|(?P<flags>\(\?[a-zA-Z-]*[:)])"
    r"|(?P<open>\((?:\?P?<[^>]*>)?)|(?P<close>\))"
    r"|(?P<set>\[\^?]?)|(?P<end>])"
    r"|(?P<count>\{\s*\d*\s*(?:,\s*\d*\s*)?})"
    r"|(?P<any>.)",
    re.DOTALL,
)
_WEIGHTS: Final = {"\\d": 8, "\\D": 8, "\\w": 40, "\\W": 40, "\\p": 40, "\\P": 40}
_COUNTED: Final = re.compile(r"\d+")


@lru_cache(maxsize=256)
def weight_of(pattern: str) -> int:
    """How much there is to compile: 1 for a letter, more for a class of Unicode, times the counts around it.

    MAX_WEIGHT and 1 for what is longer than a pattern may be, or has a flag that changes how it is read.
    """
    return _Scale().weight_of(pattern) if len(pattern) <= MAX_PATTERN else MAX_WEIGHT + 1


class _Scale:
    """Weighs the groups of a pattern, the innermost first."""

    def __init__(self) -> None:
        self.groups = [0]
        self.last = 0
        """What a count that follows repeats; it is in its group already."""
        self.sets = 0
        """So many sets `[…]` are open, in which parentheses and counts are letters."""

    def weight_of(self, pattern: str) -> int:
        for match in _TOKEN.finditer(pattern):
            kind, text = str(match.lastgroup), match.group()
            if kind == "flags" and "x" in text and not self.sets:
                return MAX_WEIGHT + 1
            if kind in {"set", "end"}:
                self._set(text)
            elif kind == "count" and not self.sets:
                self._add(self.last * (max([1, *map(int, _COUNTED.findall(text))]) - 1), keeps=self.last)
            elif kind in {"open", "flags", "close"} and not self.sets:
                self._group(text)
            else:
                self._add(_WEIGHTS.get(text[:2], 1))
        return sum(self.groups)

    def _set(self, text: str) -> None:
        was, self.sets = self.sets, max(self.sets + (-1 if text == "]" else 1), 0)
        if not was and self.sets:
            self.groups.append(1)
        elif was and not self.sets:
            self._close()

    def _group(self, text: str) -> None:
        if text == ")":
            self._close()
        elif not text.endswith(")"):  # that one only sets flags
            self.groups.append(0)

    def _close(self) -> None:
        if len(self.groups) > 1:
            self._add(self.groups.pop())

    def _add(self, weight: int, keeps: int = 0) -> None:
        self.groups[-1] += weight
        self.last = weight + keeps


def _is_pattern(pattern: str) -> bool:
    try:
        # Alone, too: `a)|(b` would be one only between the parentheses that `_matcher` puts around it.
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
        _matcher(pattern)
    except (SchemaError, UnicodeError):
        return False
    return True


@lru_cache(maxsize=16)
def _matcher(pattern: str) -> TypeAdapter[str]:
    # Tenants write them: pydantic's are those of Rust, which take linear time, Python's may take for ever.
    return TypeAdapter(Annotated[str, StringConstraints(pattern=rf"\A(?:{pattern})\z")])


# ---------------------------------------------------------------- values

_NO_REFERENCE: Final = f"“{OPENING}” is not allowed here: a value cannot hold a parameter."


def problems_of_value(parameter: Parameter, value: Any) -> list[Problem]:
    """What is wrong with the value, where in it; nothing where it is as the parameter wants it."""
    match parameter.type:
        case ParameterType.NUMBER:
            messages = _of_number(parameter, value)
        case ParameterType.ENUM:
            messages = _of_enum(parameter, value)
        case ParameterType.LIST:
            return _of_list(parameter, value)
        case _:
            messages = _of_string(parameter, value)
    return [Problem(message, ()) for message in messages]


def _of_number(parameter: Parameter, value: Any) -> Iterable[str]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -MOST_DIGITS <= value <= MOST_DIGITS:
        yield "A number is expected."  # also for NaN, which is within no limits
        return
    least, most = parameter.least, parameter.most
    if (least is not None and value < least) or (most is not None and value > most):
        yield _limits(parameter)


def _limits(parameter: Parameter) -> str:
    least, most = parameter.least, parameter.most
    if least is not None and most is not None:
        return f"Must be between {digits_of(least)} and {digits_of(most)}."
    return f"Must be at least {digits_of(least)}." if least is not None else f"Must be at most {digits_of(most or 0)}."


def _of_enum(parameter: Parameter, value: Any) -> Iterable[str]:
    if value not in parameter.options:
        shown = [option if len(option) <= MAX_NAME else f"{option[:MAX_NAME]}…" for option in parameter.options[:20]]
        yield f"One of these is expected: {', '.join(shown)}{', …' if len(parameter.options) > len(shown) else ''}."


def _of_string(parameter: Parameter, value: Any) -> Iterable[str]:
    if not isinstance(value, str):
        yield "A text is expected."
        return
    if not value.strip() and not _may_be_empty(parameter):
        yield "A value is required."
        return
    yield from _of_text(value, MAX_TEXT)
    yield from _of_amount(parameter, len(value), "characters")
    if parameter.pattern is not None:
        yield from _of_pattern(parameter.pattern, value)


def _of_pattern(pattern: str, value: str) -> Iterable[str]:
    if len(value) > MAX_MATCHED:
        yield f"At most {MAX_MATCHED} characters."
        return
    try:
        _matcher(pattern).validate_python(value)
    except (ValidationError, SchemaError, UnicodeError):
        yield f"This does not match {pattern}"


def _of_list(parameter: Parameter, value: Any) -> list[Problem]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        return [Problem("A list of texts is expected.", ())]
    if not value and not _may_be_empty(parameter):
        return [Problem("At least one entry is required.", ())]
    if len(value) > MAX_ITEMS:
        return [Problem(f"At most {MAX_ITEMS} entries.", ())]
    problems = [Problem(message, ()) for message in _of_amount(parameter, len(value), "entries")]
    for place, entry in enumerate(value):
        if not entry.strip():
            problems.append(Problem("An entry must not be empty.", (str(place),)))
        problems += [Problem(message, (str(place),)) for message in _of_text(entry, MAX_ENTRY)]
    return problems


def _may_be_empty(parameter: Parameter) -> bool:
    """Where nothing is what stands there by default, or nothing is explicitly enough."""
    empty = isinstance(parameter.default, str | list) and not "".join(parameter.default).strip()
    return empty or parameter.least == 0


def _of_amount(parameter: Parameter, amount: int, of: str) -> Iterable[str]:
    if parameter.least is not None and amount < parameter.least:
        yield f"At least {digits_of(parameter.least)} {of}."
    if parameter.most is not None and amount > parameter.most:
        yield f"At most {digits_of(parameter.most)} {of}."


def _of_text(text: str, most: int) -> Iterable[str]:
    if len(text) > most:
        yield f"At most {most} characters."
    if OPENING in text:
        yield _NO_REFERENCE
    if "\x00" in text or _SURROGATE.search(text):
        yield "The character U+0000, and halves of surrogate pairs, are not allowed."


# ---------------------------------------------------------------- all values of a template


def settled(parameters: Sequence[Parameter], values: dict[str, Any], *under: str) -> dict[str, Any]:
    """The value of each parameter: as given, else its default; null is not given.

    Raises Invalid with every value that is missing, bad, or of no parameter; located `under` that path, by name.
    """
    rules = Rules(*under)
    known = {parameter.name for parameter in parameters}
    for name in [name for name in values if name not in known][:MOST_PARAMETERS]:
        rules.refuse("The template has no such parameter.", name[:MAX_PARAMETER_NAME])
    found = {}
    for parameter in parameters:
        given = values.get(parameter.name)
        found[parameter.name] = parameter.default if given is None else given
        if found[parameter.name] is None:
            rules.refuse("A value is required.", parameter.name)
        elif given is not None:
            for problem in problems_of_value(parameter, given):
                rules.refuse(problem.message, parameter.name, *problem.path)
    rules.hold()
    return found
