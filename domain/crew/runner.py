"""Carries out tasks with CrewAI: each in a thread of our own pool, with its model calls on the worker's loop."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from domain.crew.assembly import assemble, parameters
from domain.crew.llm import DEFAULT_CALL_SECONDS, BridgedLLM
from domain.crew.models import LiteLLMClient, context_window
from domain.crew.session import TaskSession, WorkAbandoned
from domain.crew.texts import hidden
from domain.crew.tools import ToolSettings, build_tools
from domain.crew.tuning import tune
from domain.errors import FailureCode, RunFailed
from domain.ports import ModelGateway, RunSink, TaskWork

THREADS: Final = 16
CLOSING_SECONDS: Final = 0.25
"""How long a cancelled task waits for its closed model calls to be booked."""


class CrewTaskRunner:
    """The TaskRunner port. Make it on the loop on which the gateway's calls are to run.

    `call_seconds` is the longest that one model call may take.
    """

    def __init__(
        self,
        gateway: ModelGateway,
        loop: asyncio.AbstractEventLoop,
        *,
        threads: int = THREADS,
        client: LiteLLMClient | None = None,
        tools: ToolSettings | None = None,
        call_seconds: float = DEFAULT_CALL_SECONDS,
    ) -> None:
        tune()
        self._gateway = gateway
        self._loop = loop
        self._client = client or LiteLLMClient()
        self._tools = tools or ToolSettings()
        self._call_seconds = call_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="crew")

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        """The output of the task, as `TaskRunner.run` says; `work.timeout_seconds` includes waiting for a thread.

        Raises:
            RunFailed: with TASK_TIMEOUT, MAX_ITERATIONS, a MODEL_… or a TOOL_… code, or INTERNAL.
        """
        session = TaskSession(work, sink, self._gateway, self._loop)
        future = self._threads.submit(copy_context().run, self._carry_out, session)
        try:
            async with asyncio.timeout(work.timeout_seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            await _end(session)
            seconds = f"{work.timeout_seconds:g}"
            raise RunFailed(FailureCode.TASK_TIMEOUT, f"The task took longer than {seconds} seconds.") from None
        except asyncio.CancelledError:
            await _end(session)
            raise
        except WorkAbandoned:
            # A call was closed, but not by `_end`: nobody cancelled this coroutine, so it must not look as if.
            raise RunFailed(FailureCode.MODEL_UNAVAILABLE, "A model call was cut off.", retryable=True) from None

    def close(self, *, wait: bool = False) -> None:
        """Take no more tasks; those that run are waited for only on request, which blocks."""
        self._threads.shutdown(wait=wait, cancel_futures=True)

    def _carry_out(self, session: TaskSession) -> str:
        try:
            with session.current():
                return self._output(session)
        except RunFailed:
            raise
        except Exception as error:
            raise failure_of(error) from error

    def _output(self, session: TaskSession) -> str:
        work = session.work
        session.check()
        llm = BridgedLLM.made(
            work.model,
            parameters(work.role),
            supports_tools=self._client.supports_tools(work.model),
            context_window=context_window(work.model),
            call_seconds=self._call_seconds,
        )
        tools = build_tools(work.tools, self._tools, session)
        agent, task = assemble(work, llm, tools)
        output: Any = task.execute_sync(agent=agent, context=hidden(work.context) or None).raw
        return str(output)


async def _end(session: TaskSession) -> None:
    session.abandon()
    await session.closed(CLOSING_SECONDS)


def failure_of(error: BaseException) -> RunFailed:
    """The RunFailed that an error of CrewAI stands for: the one inside of it, or INTERNAL without its text."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, RunFailed):
            return current
        current = current.__cause__
    return RunFailed(FailureCode.INTERNAL, f"The task failed unexpectedly ({type(error).__name__}).")
