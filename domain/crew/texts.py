"""Texts of users on their way through CrewAI's prompt templates, unharmed.

CrewAI fills its templates by replacing `{role}`, `{input}`, `{tools}` … one after the other, also where a user's own
text contains such words. They get an invisible mark on the way in, which is taken out of every message on its way
to the model.
"""

import re
from typing import Final

_MARK: Final = "\ue0f0\ue0f1"  # private use: no text has it
_SLOTS: Final = re.compile(r"\{(?=(?:role|goal|backstory|input|tools|tool_names)\})")


def hidden(text: str) -> str:
    """The text, with a mark behind each brace that CrewAI would take for a slot of its own."""
    return _SLOTS.sub("{" + _MARK, text) if "{" in text else text


def revealed(text: str) -> str:
    """The text as it was before `hidden`."""
    return text.replace(_MARK, "") if _MARK in text else text
