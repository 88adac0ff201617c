"""The model as CrewAI sees it: each call becomes one ModelRequest of the session it runs in."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from crewai.llms.base_llm import BaseLLM
from pydantic import PrivateAttr

from domain.crew.session import current_session, to_json
from domain.crew.texts import revealed
from domain.model.tokens import estimated_tokens
from domain.ports import ModelAnswer, ModelRequest

DEFAULT_CALL_SECONDS: Final = 300.0
DEFAULT_CONTEXT_WINDOW: Final = 128_000
CONTEXT_SHARE: Final = 0.85
"""What CrewAI uses of a model's window (`BaseLLM.get_context_window_size`); the rest is left for the answer."""

_FIELDS: Final = ("role", "content", "tool_calls", "tool_call_id", "name")


class BridgedLLM(BaseLLM):
    """A CrewAI LLM without a client of its own; make a fresh one for every task."""

    llm_type: str = "regatta"
    _parameters: dict[str, Any] = PrivateAttr(default_factory=dict)
    _supports_tools: bool = PrivateAttr(default=True)
    _context_window: int = PrivateAttr(default=DEFAULT_CONTEXT_WINDOW)
    _call_seconds: float = PrivateAttr(default=DEFAULT_CALL_SECONDS)
    _output_schema: Mapping[str, Any] | None = PrivateAttr(default=None)
    _uses_tools: bool = PrivateAttr(default=False)

    @classmethod
    def made(
        cls,
        model: str,
        parameters: Mapping[str, Any],
        *,
        supports_tools: bool,
        context_window: int | None,
        call_seconds: float = DEFAULT_CALL_SECONDS,
        output_schema: Mapping[str, Any] | None = None,
        uses_tools: bool = False,
    ) -> "BridgedLLM":
        """The LLM for one agent; `context_window` in tokens, None when it is not known; `call_seconds` per call.

        `output_schema` is what the agent's last answer has to hold, `uses_tools` whether it has tools at all.
        """
        llm = cls(model=model)
        llm._parameters = dict(parameters)
        llm._supports_tools = supports_tools
        llm._context_window = context_window or DEFAULT_CONTEXT_WINDOW
        llm._call_seconds = call_seconds
        llm._output_schema = output_schema
        llm._uses_tools = uses_tools
        return llm

    def call(  # type: ignore[override] # the messages are typed by CrewAI's own TypedDict
        self,
        messages: str | list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        *_: Any,
        from_task: Any = None,
        **__: Any,
    ) -> Any:
        """The text of the answer, or the list of its tool calls in OpenAI's shape, which CrewAI then runs."""
        session = current_session()
        session.check()
        request = ModelRequest(
            self.model,
            _plain(messages),
            tools or None,
            self._with_stop(),
            self._call_seconds,
            output_schema=self._schema_for(tools, from_task),
        )
        return _for_crewai(session.ask(request))

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """The same for CrewAI's summaries of long conversations, which run on a loop of their own."""
        return await asyncio.to_thread(self.call, *args, **kwargs)

    # CrewAI wraps `call` into three attempts on rate limits, unless it is marked as wrapped already: whoever
    # retries shall see each attempt, and that is the one loop of ours.
    call._crewai_rate_limit_wrapped = True  # type: ignore[attr-defined] # noqa: SLF001 - a mark on a function of ours
    acall._crewai_rate_limit_wrapped = True  # type: ignore[attr-defined] # noqa: SLF001 - same

    def supports_function_calling(self) -> bool:
        return self._supports_tools

    def supports_stop_words(self) -> bool:
        # Only the text protocol for tools needs "Observation:" to end the answer.
        return not self._supports_tools

    def get_context_window_size(self) -> int:
        return int(self._context_window * CONTEXT_SHARE)

    def get_input_tokens_count(self, messages: Any, tools: Any = None, response_model: Any = None) -> int:
        """An estimate, as for the ledger; CrewAI summarises a conversation that grows past the window."""
        del response_model
        texts = messages if isinstance(messages, str) else to_json(messages)
        return estimated_tokens(texts) + (estimated_tokens(to_json(tools)) if tools else 0)

    def _schema_for(self, tools: Any, task: Any) -> Mapping[str, Any] | None:
        """What this call's text has to hold: the schema, where the text can be the agent's last answer.

        It cannot be without a task (summaries), nor where tools are used by text: "Thought: … Action: …" is no JSON.
        """
        is_last = task is not None and (bool(tools) or not self._uses_tools)
        return self._output_schema if is_last else None

    def _with_stop(self) -> dict[str, Any]:
        stop = [*_listed(self._parameters.get("stop")), *(() if self._supports_tools else self.stop_sequences)]
        return {**self._parameters, "stop": stop} if stop else self._parameters


def _listed(stop: Any) -> list[str]:
    if stop is None:
        return []
    return [stop] if isinstance(stop, str) else [str(word) for word in stop]


def _plain(messages: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    if isinstance(messages, str):
        return [{"role": "user", "content": revealed(messages)}]
    return [_message(message) for message in messages]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    # CrewAI keeps marks of its own in the messages (cache breakpoints, files), which no provider knows.
    plain = {name: message[name] for name in _FIELDS if message.get(name) is not None}
    content = plain.setdefault("content", None)
    if isinstance(content, str):
        plain["content"] = revealed(content)
    return plain


def _for_crewai(answer: ModelAnswer) -> Any:
    if not answer.tool_requests:
        return answer.text
    return [
        {"id": wish.id, "type": "function", "function": {"name": wish.name, "arguments": wish.arguments}}
        for wish in answer.tool_requests
    ]
