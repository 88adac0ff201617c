"""One streamed answer put together from its pieces, with the tokens that the provider counted."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from typing import Any, Final

from domain.crew.failures import invalid
from domain.model.ledger import TokenSource
from domain.model.model_names import MAX_MODEL_NAME
from domain.model.prices import TokenCounts
from domain.model.texts import storable
from domain.ports import ToolRequest

MOST_TOKENS: Final = 1_000_000_000
"""What a provider may say it counted in one call; more is a mistake, and could not be stored."""

MAX_ANSWER_CHARACTERS: Final = 1_000_000
MAX_PIECE_CHARACTERS: Final = 8_000
"""Of what `on_text` is given at once, for it becomes an event; a longer piece comes in parts."""


class Collected:
    """The pieces of one streamed answer put together."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tools: dict[int, dict[str, str]] = {}
        self._length = 0
        self.on_chunk: Callable[[], None] = _nothing
        self.finish_reason: str | None = None
        self.counts: TokenCounts | None = None
        self.model: str | None = None

    def take(self, chunk: Any) -> None:
        """Take a piece in OpenAI's shape; raises RunFailed when the answer gets too long."""
        if chunk.choices:
            self._take(chunk.choices[0])
        self.model = self.model or _name_in(chunk)
        self.on_chunk()

    def _take(self, choice: Any) -> None:
        if piece := choice.delta.content:
            self._keep(self._texts, piece)
            for start in range(0, len(piece), MAX_PIECE_CHARACTERS):
                self._on_text(piece[start : start + MAX_PIECE_CHARACTERS])
        if thought := getattr(choice.delta, "reasoning_content", None):
            self._keep(self._thoughts, thought)
        for position, call in enumerate(choice.delta.tool_calls or ()):
            self._take_tool(call, position)
        self.finish_reason = choice.finish_reason or self.finish_reason

    def take_usage(self, chunks: Iterable[Any]) -> None:
        """Keep the counts that the provider sent: cumulative or in parts, the highest of each is the sum."""
        for chunk in chunks:
            if usage := _field(chunk, "usage"):
                self.counts = _highest(self.counts, _counts(usage))

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def tool_requests(self) -> list[ToolRequest]:
        return [
            ToolRequest(tool["id"] or f"call_{index}", tool["name"], tool["arguments"] or "{}")
            for index, tool in sorted(self._tools.items())
            if tool["name"]
        ]

    @property
    def written(self) -> str:
        """All that the model wrote, what it only thought included."""
        tools = (tool["name"] + tool["arguments"] for tool in self._tools.values())
        return "".join([*self._thoughts, *self._texts, *tools])

    @property
    def has_begun(self) -> bool:
        """Whether the model wrote anything yet."""
        return self._length > 0

    @property
    def is_counted(self) -> bool:
        """Whether the provider said how much it was; some servers say "nothing" whatever they wrote."""
        return self.counts is not None and (self.counts.prompt > 0 or self.counts.completion > 0)

    def _keep(self, pieces: list[str], piece: Any) -> None:
        self._count(piece)
        pieces.append(piece)
        self._limit()

    def _count(self, *pieces: Any) -> None:
        for piece in pieces:
            if not isinstance(piece, str | None):
                raise TypeError
            self._length += len(piece or "")

    def _limit(self) -> None:
        # After the piece is kept: what was too much is billed as well.
        if self._length > MAX_ANSWER_CHARACTERS:
            raise invalid(f"The model gave an answer of more than {MAX_ANSWER_CHARACTERS:,} characters.")

    def _take_tool(self, call: Any, position: int) -> None:
        self._count(call.id, call.function.name, call.function.arguments)
        index = call.index if isinstance(call.index, int) else position
        tool = self._tools.setdefault(index, {"id": "", "name": "", "arguments": ""})
        tool["id"] = tool["id"] or call.id or ""
        tool["name"] = tool["name"] or call.function.name or ""
        tool["arguments"] += call.function.arguments or ""
        self._limit()


def _name_in(chunk: Any) -> str | None:
    """Which model the server says that it is; a server of a tenant may say anything, of any length."""
    name = getattr(chunk, "model", None)
    return storable(name)[:MAX_MODEL_NAME] if isinstance(name, str) and name else None


def _nothing() -> None:
    pass


def plausible(counts: TokenCounts) -> tuple[TokenCounts, TokenSource]:
    """The counts within what a call can have, and whose they are then: nobody's, where the provider's are absurd."""
    clamped = TokenCounts(*(min(max(count, 0), MOST_TOKENS) for count in astuple(counts)))
    cached = min(clamped.cached, clamped.prompt)
    written = min(clamped.written, clamped.prompt - cached)
    sound = TokenCounts(clamped.prompt, clamped.completion, cached, written, clamped.reasoning)
    return sound, TokenSource.PROVIDER if sound == counts else TokenSource.ESTIMATE


def _counts(usage: Any) -> TokenCounts:
    prompt, completion = _field(usage, "prompt_tokens_details"), _field(usage, "completion_tokens_details")
    return TokenCounts(
        prompt=_number(usage, "prompt_tokens"),
        completion=_number(usage, "completion_tokens"),
        cached=_number(prompt, "cached_tokens") or _number(usage, "cache_read_input_tokens"),
        written=_number(usage, "cache_creation_input_tokens"),
        reasoning=_number(completion, "reasoning_tokens"),
    )


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _number(holder: Any, name: str) -> int:
    value = _field(holder, name)
    return value if isinstance(value, int) else 0


def _highest(one: TokenCounts | None, other: TokenCounts) -> TokenCounts:
    return other if one is None else TokenCounts(*map(max, astuple(one), astuple(other)))
