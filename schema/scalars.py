"""Scalars that are read otherwise than Strawberry reads them: exact decimals."""

import re
from decimal import Decimal
from typing import Any, Final

import strawberry
from graphql import FloatValueNode, IntValueNode, StringValueNode, ValueNode
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.types.scalar import ScalarDefinition

MAX_CHARACTERS: Final = 100
EXACT_DIGITS: Final = 15
"""So many significant digits survive the way through a JSON number, which is read as a double."""

_FORM: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
"""What JSON takes for a number: no NaN, no blanks, no other script's digits. The exponent is short, because arithmetic
on a number of a million digits takes its time."""


def _parsed(value: Any) -> Decimal:
    """The decimal of a text or a JSON number. Raises StrawberryInputCoercionError."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise StrawberryInputCoercionError("A Decimal is a text or a number.")
    if not isinstance(value, float):
        return _exact(str(value))
    found = _exact(repr(value))
    if len(found.as_tuple().digits) > EXACT_DIGITS:
        raise StrawberryInputCoercionError(f"Write a Decimal of more than {EXACT_DIGITS} digits as a text.")
    return found


def _of_literal(node: ValueNode, _variables: Any = None) -> Decimal:
    """The decimal as it stands in the document: a literal never becomes a double."""
    if isinstance(node, StringValueNode | IntValueNode | FloatValueNode):
        return _exact(node.value)
    raise StrawberryInputCoercionError("A Decimal is a text or a number.")


def _exact(text: str) -> Decimal:
    if len(text) > MAX_CHARACTERS or not _FORM.fullmatch(text):
        raise StrawberryInputCoercionError(f"This is no decimal of at most {MAX_CHARACTERS} characters.")
    return Decimal(text) or Decimal(0)  # there is no negative zero in the database either


DECIMAL: Final[ScalarDefinition] = strawberry.scalar(
    name="Decimal",
    description="An exact decimal: a text like “12.50”, or a number of at most 15 digits.",
    serialize=str,
    parse_value=_parsed,
    parse_literal=_of_literal,
)
