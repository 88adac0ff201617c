"""Texts on their way through CrewAI's prompt templates, unharmed and within bounds.

CrewAI fills its templates by replacing `{role}`, `{input}`, `{tools}` … one after the other, also where a user's own
text contains such words. They get an invisible mark on the way in, which is taken out of every message on its way
to the model.
"""

import re
from typing import Final

MOST_QUOTED: Final = 40_000
"""Characters of an earlier result that a role is shown again."""

_MARK: Final = "\ue0f0\ue0f1"  # private use: no text has it
_SLOTS: Final = re.compile(r"\{(?=(?:role|goal|backstory|input|tools|tool_names)\})")


def hidden(text: str) -> str:
    """The text, with a mark behind each brace that CrewAI would take for a slot of its own."""
    return _SLOTS.sub("{" + _MARK, text) if "{" in text else text


def revealed(text: str) -> str:
    """The text as it was before `hidden`."""
    return text.replace(_MARK, "") if _MARK in text else text


def joined(*parts: str) -> str:
    """The parts that say something, set apart from each other."""
    return "\n\n".join(part for part in parts if part)


def quoted(result: str) -> str:
    """A result as a role is shown it again: long ones without their middle."""
    if len(result) <= MOST_QUOTED:
        return result
    half = MOST_QUOTED // 2
    return f"{result[:half]}\n[…]\n{result[-half:]}"
