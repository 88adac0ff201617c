"""How many tokens texts have, without a tokenizer: an estimate, and a number that no usual tokenizer exceeds.

A real count would differ by model, ask a model hub for most of them, and take the loop's time.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

BYTES_PER_TOKEN: Final = 4
"""The rule of thumb for prose."""

MESSAGE_TOKENS: Final = 16
"""What a provider puts around one message: its role, and marks for its beginning and end."""

TOOLS_TOKENS: Final = 600
"""What a provider tells a model about using tools at all; Anthropic names 264 to 530, by model."""

_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"


def estimated_tokens(text: str) -> int:
    """About how many tokens the text has; 0 for an empty one."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)


def most_tokens(text: str) -> int:
    """More tokens than the text has by any usual tokenizer; 0 for an empty one.

    A tokenizer that knows every byte never needs more than one token for one. That much is real: single digits
    between commas take a token per byte, rare scripts and emoji nearly so, base64 one per 1.4 and identifiers one
    per 1.6 bytes (cl100k, o200k and Claude's agree). Only small Latin letters always go together: random ones take
    0.54 tokens each, words a quarter, so two thirds are enough for these. The bytes are those of JSON, where a line
    end has two: a letter a line takes a token for either.
    """
    return _most(_json(text)) if text else 0


def most_request_tokens(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    schema: Mapping[str, Any] | None = None,
) -> int:
    """The same for a whole request in OpenAI's shape: messages, tools and the schema of its answer."""
    around = MESSAGE_TOKENS * len(messages) + (TOOLS_TOKENS if tools else 0)
    return around + sum(_most(_json(part)) for part in (messages, tools, schema) if part)


def estimated_request_tokens(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = (), schema: Any = None
) -> int:
    """About how many tokens such a request has."""
    size = sum(len(_json(part)) for part in (messages, tools, schema) if part)
    return -(-size // BYTES_PER_TOKEN)


def _most(data: bytes) -> int:
    letters = len(data) - len(data.translate(None, _LETTERS))
    return len(data) - letters // 3


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half a surrogate pair, an integer beyond 64 bits, or too deep
        return json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace")
