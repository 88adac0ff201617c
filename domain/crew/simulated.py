"""The built-in `simulated/` models: a LiteLLM provider that writes a plausible answer from the prompt alone.

They show the product without a key, an account or a network; tests of ours use the scripted model server.
Any name works (`simulated/regatta`); the same prompt always gives the same answer; every line of it says that it
is simulated; tokens are estimated and cost nothing. Asked for JSON that holds a schema, they give a plain example.
"""

import asyncio
import json
import math
import os
import re
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or importing litellm waits for a download

import litellm
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import GenericStreamingChunk, ModelResponse
from litellm.utils import custom_llm_setup

from domain.crew.examples import example_of

PROVIDER: Final = "simulated"
CONTEXT_WINDOW: Final = 128_000
CHARACTERS_PER_TOKEN: Final = 4  # the rule of thumb for English; a real tokenizer would be a download
WORDS_PER_CHUNK: Final = 4

Message: TypeAlias = dict[str, Any]


def register_simulated(delay_seconds: float = 0.0) -> None:
    """Make `simulated/<anything>` callable through LiteLLM in this process.

    `delay_seconds` passes before each streamed group of words (and as often before an answer that is not
    streamed). Calling it again only changes the delay, also of calls that are running.
    """
    for entry in litellm.custom_provider_map:
        if isinstance(handler := entry["custom_handler"], SimulatedProvider):
            handler.delay_seconds = delay_seconds
            return
    litellm.custom_provider_map.append({"provider": PROVIDER, "custom_handler": SimulatedProvider(delay_seconds)})
    custom_llm_setup()  # type: ignore[no-untyped-call] # LiteLLM left it so
    _price_at_zero("regatta")


class SimulatedProvider(CustomLLM):
    """LiteLLM's adapter: the answers come from `compose_answer`."""

    def __init__(self, delay_seconds: float = 0.0) -> None:
        super().__init__()
        self.delay_seconds = delay_seconds

    def completion(self, *_: Any, **call: Any) -> ModelResponse:
        answer = _answer_to(call)
        time.sleep(self.delay_seconds * len(answer.chunks))
        return _filled(call, answer)

    async def acompletion(self, *_: Any, **call: Any) -> ModelResponse:
        answer = _answer_to(call)
        await asyncio.sleep(self.delay_seconds * len(answer.chunks))
        return _filled(call, answer)

    def streaming(self, *_: Any, **call: Any) -> Iterator[GenericStreamingChunk]:
        for chunk in _stream(_answer_to(call)):
            time.sleep(self.delay_seconds)
            yield chunk

    async def astreaming(self, *_: Any, **call: Any) -> AsyncIterator[GenericStreamingChunk]:  # type: ignore[override] # LiteLLM iterates it
        for chunk in _stream(_answer_to(call)):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            yield chunk


@dataclass(frozen=True, slots=True)
class _Answer:
    """Either content or a tool call, with the estimated token counts."""

    content: str
    tool_call: dict[str, Any] | None
    prompt_tokens: int
    completion_tokens: int

    @property
    def chunks(self) -> list[str]:
        groups = re.findall(rf"(?:\S+\s*){{1,{WORDS_PER_CHUNK}}}", self.content)
        return groups or [""]

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.tool_call else "stop"

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def _answer_to(call: dict[str, Any]) -> _Answer:
    _price_at_zero(call["model"])
    messages: list[Message] = call["messages"]
    tools = (call.get("optional_params") or {}).get("tools") or ()
    tool_call = _tool_call(messages, tools)
    schema = _schema_of(call)
    content = "" if tool_call else compose_answer(messages) if schema is None else json.dumps(example_of(schema))
    written = json.dumps(tool_call) if tool_call else content
    return _Answer(content, tool_call, sum(estimate_tokens(_text_of(m)) for m in messages), estimate_tokens(written))


def _schema_of(call: dict[str, Any]) -> Any:
    form = (call.get("optional_params") or {}).get("response_format") or {}
    return form.get("json_schema", {}).get("schema") if isinstance(form, dict) else None


def _filled(call: dict[str, Any], answer: _Answer) -> ModelResponse:
    response: ModelResponse = call["model_response"]
    response.model = call["model"]
    choice: Any = response.choices[0]
    choice.message.content = answer.content or None
    choice.message.tool_calls = (
        [litellm.ChatCompletionMessageToolCall(**answer.tool_call)] if answer.tool_call else None
    )
    choice.finish_reason = answer.finish_reason
    response.usage = litellm.Usage(**answer.usage)  # type: ignore[attr-defined] # declared by none, read by all
    return response


def _stream(answer: _Answer) -> Iterator[GenericStreamingChunk]:
    for text in answer.chunks[:-1]:
        yield {"text": text, "is_finished": False, "finish_reason": "", "usage": None, "tool_use": None, "index": 0}
    yield {
        "text": answer.chunks[-1],
        "is_finished": True,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,  # type: ignore[typeddict-item] # its optional keys are marked as required
        "tool_use": {**answer.tool_call, "index": 0} if answer.tool_call else None,  # type: ignore[typeddict-item] # a plain dict of that shape
        "index": 0,
    }


def estimate_tokens(text: str) -> int:
    """The number of tokens of `text`, estimated without a tokenizer; 0 for an empty text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def _price_at_zero(model: str) -> None:
    # LiteLLM knows prices by full name only, and a model without a price is an error to it. One small entry per
    # name in use is the price of accepting any name.
    name = f"{PROVIDER}/{model}"
    if name in litellm.model_cost:
        return
    entry = {
        "litellm_provider": PROVIDER,
        "mode": "chat",
        "max_input_tokens": CONTEXT_WINDOW,
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "cache_read_input_token_cost": 0.0,
        "cache_creation_input_token_cost": 0.0,
        "supports_function_calling": True,
    }
    litellm.register_model({name: entry})


# What it writes


def compose_answer(messages: Sequence[Message]) -> str:
    """Markdown built from the role, the task and the context of a prompt; each non-empty line ends "(simulated)".

    It understands the prompts of CrewAI and takes any other prompt's last user message as the task. It never
    contains what CrewAI would read as a protocol ("Final Answer:", "Action:"), so that it ends a task at once.
    """
    prompt = _read(messages)
    topics = _topics(prompt.task) or ["the task"]
    lines = [f"# {_headline(prompt.task)}", ""]
    lines += ["## Summary", f"As {prompt.role}, I worked on {_listed(topics[:3])}."]
    if prompt.expected:
        lines.append(f"What was asked for is {prompt.expected}.")
    lines += ["", "## Findings", *(f"- **{topic.capitalize()}** {_finding(topic, prompt.role)}" for topic in topics)]
    if prompt.tool_results:
        lines += ["", "## Results of tools", *(f"- {result}" for result in prompt.tool_results)]
    if prompt.context:
        lines += ["", "## Built on earlier work", *(f"- {line}" for line in prompt.context)]
    lines += ["", "## Next steps"]
    lines += [f"{number}. {_step(topic, prompt.task)}" for number, topic in enumerate(topics[:3], start=1)]
    return "\n".join(f"{line} (simulated)" if line else "" for line in lines)


@dataclass(frozen=True, slots=True)
class _Prompt:
    role: str
    task: str
    expected: str
    context: list[str]
    tool_results: list[str]


_ROLE = re.compile(r"You are (.+?)\.(?:\s|$)", re.DOTALL)
_TASK = re.compile(r"Current Task: (.*)", re.DOTALL)
_EXPECTED = re.compile(r"This is the expected criteria for your final answer: (.*?)\nyou MUST return", re.DOTALL)
_CONTEXT = re.compile(r"This is the context you're working with:\n(.*)", re.DOTALL)
_AFTER_THE_TASK = re.compile(
    r"\n+(?:This is the expected criteria for your final answer:|This is the context you're working with:"
    r"|Provide your complete response:|Begin! This is VERY important)"
)


def _read(messages: Sequence[Message]) -> _Prompt:
    text = "\n".join(_text_of(message) for message in messages if message.get("role") == "system")
    users = [_text_of(message) for message in messages if message.get("role") == "user"]
    asked = next((user for user in users if "Current Task: " in user), users[-1] if users else "")
    request = _after(_TASK, asked) or asked
    return _Prompt(
        role=_quoted(_after(_ROLE, text), 80) or "a simulated role",
        task=_AFTER_THE_TASK.split(request)[0],
        expected=_quoted(_after(_EXPECTED, request), 120).rstrip("."),
        context=_highlights(_after(_CONTEXT, request)),
        tool_results=[quote for m in messages if m.get("role") == "tool" if (quote := _quoted(_text_of(m), 120))],
    )


def _after(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")


def _quoted(text: str, most: int) -> str:
    """`text` on one line of at most `most` characters, without markup and without the colons of protocols."""
    plain = " ".join(re.sub(r"[:#*`_<>|\[\]{}]|\(simulated\)", " ", text).split())
    return plain if len(plain) <= most else plain[:most].rsplit(" ", 1)[0] + " …"


def _highlights(context: str) -> list[str]:
    """The first lines of the context that carry something, four at most."""
    context = _AFTER_THE_TASK.split(context)[0]
    lines = (_quoted(line.lstrip(" #-*0123456789."), 100) for line in context.splitlines())
    return [line for line in lines if len(line.split()) > 1][:4]


def _headline(task: str) -> str:
    sentence = re.split(r"(?<=[.!?])\s|\n", task.strip(), maxsplit=1)[0]
    return _quoted(sentence, 80).rstrip(".") or "Answer"


# Words that say nothing of a task's subject; those under five letters are left out anyway.
_EMPTY_WORDS: Final = frozenset(
    """
    about above after again against along among answer based because before being below between could current
    describe during every final first given include including might other please provide should since their them
    there these thing those three through under until using where which while whole within without would write your
    """.split()  # noqa: SIM905 - a hundred quoted words hide the words
)


def _topics(task: str) -> list[str]:
    """The five most frequent words of the task, the earlier one first among equals."""
    words = [word.lower() for word in re.findall(r"[^\W\d_][\w-]{4,30}", task)]
    counts = {word: words.count(word) for word in dict.fromkeys(words[:400]) if word not in _EMPTY_WORDS}
    return sorted(counts, key=lambda word: -counts[word])[:5]


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


_FINDINGS: Final = (
    "shows steady potential; {role} sees one clear lever and two open questions.",
    "is well understood; the evidence points the same way in all three sources consulted.",
    "needs attention first, for most of the remaining work depends on it.",
    "carries a moderate risk that an early check would reduce by half.",
    "offers the best ratio of effect to effort in this plan.",
    "is stable today and should be reviewed at the end of the quarter.",
)
_STEPS: Final = (
    "Agree on a measurable target for {topic}.",
    "Run a small trial on {topic} and write down what it costs.",
    "Name one owner for {topic} and review it every week.",
    "Compare two alternatives for {topic} before deciding.",
)


def _finding(topic: str, role: str) -> str:
    return _chosen(_FINDINGS, topic + role).format(role=role)


def _step(topic: str, task: str) -> str:
    return _chosen(_STEPS, topic + task).format(topic=topic)


def _chosen(options: Sequence[str], seed: str) -> str:
    return options[zlib.crc32(seed.encode("utf-8", "replace")) % len(options)]  # hash() differs in each process


# A tool call, so that a demo can show one: a role with a calculator and a calculation in its task, or a manager with
# a coworker.

_ARITHMETIC = re.compile(r"\d+(?:\.\d+)?(?:\s+[-+*/]\s+\d+(?:\.\d+)?)+")  # blanks, or a date would be one
_COWORKER = re.compile(r"The coworkers:\n- (.+?): ")


def _tool_call(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first call that makes sense with the tools that are offered; only one in a conversation."""
    if any(message.get("role") == "tool" for message in messages):
        return None
    offered = {_name_of(tool): tool for tool in tools}
    task = _read(messages).task
    return _calculation(offered, task) or _delegation(offered, task)


def _calculation(offered: Mapping[str, dict[str, Any]], task: str) -> dict[str, Any] | None:
    parameter = _first_parameter(offered.get("calculator", {}))
    expression = _ARITHMETIC.search(task)
    if parameter is None or expression is None:
        return None
    return _called("calculator", {parameter: expression[0]})


def _delegation(offered: Mapping[str, dict[str, Any]], task: str) -> dict[str, Any] | None:
    """All of the task, to the first coworker."""
    name = "delegate_work_to_coworker"
    coworker = _after(_COWORKER, str(offered.get(name, {}).get("function", {}).get("description", "")))
    if not coworker:
        return None
    return _called(name, {"task": task.strip(), "context": "This is all that is known.", "coworker": coworker})


def _called(name: str, arguments: dict[str, str]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": "call_simulated", "type": "function", "function": function}


def _name_of(tool: dict[str, Any]) -> str:
    return str(tool.get("function", {}).get("name", ""))


def _first_parameter(tool: dict[str, Any]) -> str | None:
    properties = tool.get("function", {}).get("parameters", {}).get("properties", {})
    return next(iter(properties), None)
