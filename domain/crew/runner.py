"""Carries out tasks with CrewAI: each in a thread of our own pool, with its model calls on the worker's loop."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final

from domain.crew.assembly import assemble, parameters
from domain.crew.llm import DEFAULT_CALL_SECONDS, BridgedLLM
from domain.crew.models import context_window
from domain.crew.outputs import bare
from domain.crew.session import TaskSession, WorkAbandoned
from domain.crew.texts import hidden
from domain.crew.tools import ToolSettings, build_tools
from domain.crew.tuning import tune
from domain.errors import FailureCode, RunFailed, Unavailable
from domain.model.identity import ToolId
from domain.model.output_schema import problem_of
from domain.model.tool import ToolKind
from domain.ports import ModelGateway, RunSink, TaskWork, ToolSecret, ToolSecrets

THREADS: Final = 16
CLOSING_SECONDS: Final = 0.25
"""How long a cancelled task waits for its closed model calls to be booked."""


class CrewTaskRunner:
    """The TaskRunner port. Make it on the loop on which the gateway's calls are to run.

    `call_seconds` is the longest that one model call may take. Without `secrets`, tools are used without credentials.
    """

    def __init__(
        self,
        gateway: ModelGateway,
        loop: asyncio.AbstractEventLoop,
        *,
        threads: int = THREADS,
        tools: ToolSettings | None = None,
        call_seconds: float = DEFAULT_CALL_SECONDS,
        secrets: ToolSecrets | None = None,
    ) -> None:
        tune()
        self._gateway = gateway
        self._loop = loop
        self._tools = tools or ToolSettings()
        self._call_seconds = call_seconds
        self._secrets = secrets
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="crew")

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        """The output of the task, as `TaskRunner.run` says; `work.timeout_seconds` includes waiting for a thread.

        Raises:
            RunFailed: with TASK_TIMEOUT, MAX_ITERATIONS, OUTPUT_INVALID, a MODEL_… or a TOOL_… code, or INTERNAL.
        """
        session = TaskSession(work, sink, self._gateway, self._loop)
        try:
            async with asyncio.timeout(work.timeout_seconds):
                session.secrets = await self._secrets_for(work)
                future = self._threads.submit(copy_context().run, self._carry_out, session)
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

    async def _secrets_for(self, work: TaskWork) -> Mapping[ToolId, ToolSecret]:
        servers = [tool.id for tool in work.tools if tool.kind is ToolKind.MCP_SERVER]
        if self._secrets is None or not servers:
            return {}
        try:
            return await self._secrets.of(work.ownership.tenant_id, servers)
        except Unavailable as error:
            raise RunFailed(FailureCode.TOOL_FAILED, str(error), retryable=True) from error

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
        model = work.route.first.model
        llm = BridgedLLM.made(
            work.model,
            parameters(work.role),
            supports_tools=model.supports_tools,
            context_window=model.context_window or context_window(work.model),
            call_seconds=self._call_seconds,
        )
        tools = build_tools(work.tools, self._tools, session)
        agent, task = assemble(work, llm, tools)
        output: Any = task.execute_sync(agent=agent, context=hidden(work.context) or None).raw
        return _checked(str(output), work.task.output_schema)


def _checked(output: str, schema: dict[str, Any] | None) -> str:
    """The output as the task wants it. Not every model is held to a schema while it writes, so this is for all."""
    if schema is None:
        return output
    output = bare(output)
    problem = problem_of(output, schema)
    if problem is not None:
        message = f"The output does not hold the task's schema. {problem}"
        raise RunFailed(FailureCode.OUTPUT_INVALID, message, retryable=True)
    return output


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
