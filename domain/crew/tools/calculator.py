"""Arithmetic on a text, evaluated over its syntax tree: no names, no attributes, no calls but a few functions."""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, Field

from domain.crew.tools.watched import ToolFault

DESCRIPTION: Final = (
    "Evaluates one arithmetic expression and returns the number, e.g. '1250 * (1 + 0.07) ** 3'. "
    "Knows + - * / // % **, parentheses, pi, e and the functions sqrt, log, log10, exp, sin, cos, tan, "
    "abs, round, floor, ceil, min, max."
)
MAX_EXPRESSION: Final = 1_000
MAX_BITS: Final = 4_096
"""Of any integer on the way: about 1,200 digits; more would only burn CPU."""

MAX_DIGITS: Final = 100

Number = int | float


def _round(number: Number, digits: int = 0) -> Number:
    if abs(digits) > MAX_DIGITS:  # rounding to a power of ten that takes minutes to compute
        raise ToolFault("too many digits to round to.")
    return round(number, digits) if digits else round(number)


_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Any], Number]]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CONSTANTS: Final = {"pi": math.pi, "e": math.e}
_FUNCTIONS: Final[dict[str, Callable[..., Number]]] = {
    "sqrt": math.sqrt,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "abs": abs,
    "round": _round,
    "floor": math.floor,
    "ceil": math.ceil,
    "min": min,
    "max": max,
}


class Arguments(BaseModel):
    expression: str = Field(description="One arithmetic expression", min_length=1, max_length=MAX_EXPRESSION)


def calculate(expression: str) -> str:
    """The value of the expression as a decimal text; raises ToolFault for anything that is no arithmetic."""
    try:
        return _text(_value(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ToolFault("this is no arithmetic expression.") from error
    except ZeroDivisionError as error:
        raise ToolFault("division by zero.") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise ToolFault("the expression has no value, or one that is too large.") from error


def _text(number: Number) -> str:
    # Fifteen digits are what a float holds; the sixteenth would turn 0.1 + 0.2 into 0.30000000000000004.
    return str(number) if isinstance(number, int) else f"{number:.15g}"


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool() | str() | bytes() | None):
            raise ToolFault("only numbers can be calculated with.")
        case ast.Constant(value=int() | float() as number):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*map(_value, args)))
    raise ToolFault("only numbers, + - * / // % **, parentheses and the named functions are known.")


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        raise ToolFault("the power is too large.")
    return _bounded(base**exponent)


def _bounded(number: Any) -> Number:
    if isinstance(number, complex) or not isinstance(number, int | float):
        raise ToolFault("the expression has no real value.")
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise ToolFault("the number is too large.")
    if isinstance(number, float) and not math.isfinite(number):
        raise ToolFault("the number is too large.")
    return number
