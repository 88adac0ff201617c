"""Carries out tasks with CrewAI: each in a thread of our own pool, with its model calls on the worker's loop."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from domain.crew.hierarchy import performer_for
from domain.crew.judging import PARAMETERS, guarded
from domain.crew.llm import DEFAULT_CALL_SECONDS
from domain.crew.outputs import bare
from domain.crew.performing import Means, Performer, context_of
from domain.crew.session import TaskSession, WorkAbandoned, WorkStopped, failure_of
from domain.crew.tools import ToolSettings
from domain.crew.tuning import tune
from domain.errors import FailureCode, RunFailed, Unavailable
from domain.model.identity import ToolId
from domain.model.output_schema import problem_of
from domain.model.texts import seconds_of
from domain.model.tool import Tool, ToolKind
from domain.ports import ModelGateway, ModelRequest, RunSink, TaskWork, ToolSecret, ToolSecrets
from domain.ports.tracing import NO_TRACING, Tracing

THREADS: Final = 16
CLOSING_SECONDS: Final = 0.25
"""How long a cancelled task waits for its closed model calls to be booked."""


class CrewTaskRunner:
    """The TaskRunner port. Make it on the loop on which the gateway's calls are to run.

    A task takes one of the `threads` as long as it lasts; what comes when they are all taken, waits. `call_seconds` is
    the longest that one model call may take. Without `secrets`, tools are used without credentials.
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
        tracing: Tracing = NO_TRACING,
    ) -> None:
        tune()
        self._gateway = gateway
        self._loop = loop
        self._means = Means(tools or ToolSettings(), call_seconds)
        self._secrets = secrets
        self._tracing = tracing
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="crew")

    async def run(self, work: TaskWork, sink: RunSink) -> str:
        """The output of the task, as `TaskRunner.run` says; `work.timeout_seconds` includes waiting for a thread.

        Raises:
            RunFailed: with TASK_TIMEOUT, MAX_ITERATIONS, OUTPUT_INVALID, GUARDRAIL_FAILED, BUDGET_EXCEEDED, a MODEL_…
                or a TOOL_… code, or INTERNAL.
            Paused, AnswerAwaited: as `TaskRunner.run` says.
            NotRecorded: a call of a tool that must not be made twice could not be put down before it.
        """
        session = TaskSession(work, sink, self._gateway, self._loop, self._tracing)
        try:
            async with asyncio.timeout(work.timeout_seconds):
                session.secrets = await self._secrets_for(work)
                future = self._threads.submit(copy_context().run, self._carry_out, session)
                return await asyncio.wrap_future(future)
        except TimeoutError:
            await _end(session)
            message = f"The task took longer than {seconds_of(work.timeout_seconds)}."
            raise RunFailed(FailureCode.TASK_TIMEOUT, message) from None
        except asyncio.CancelledError:
            await _end(session)
            raise
        except WorkAbandoned:
            # A call was closed, but not by `_end`: nobody cancelled this coroutine, so it must not look as if.
            raise RunFailed(FailureCode.MODEL_UNAVAILABLE, "A model call was cut off.", retryable=True) from None

    async def evaluate(self, work: TaskWork, prompt: str, schema: Mapping[str, Any], sink: RunSink) -> str:
        """One answer to the prompt, without an agent: JSON that holds the schema.

        Raises:
            RunFailed: with BUDGET_EXCEEDED or a MODEL_… code.
            Paused: as `TaskRunner.evaluate` says.
        """
        messages = [{"role": "user", "content": prompt}]
        request = ModelRequest(work.model, messages, None, PARAMETERS, self._means.call_seconds, output_schema=schema)
        return (await self._gateway.call(work, request, sink)).text

    def close(self, *, wait: bool = False) -> None:
        """Take no more tasks; those that run are waited for only on request, which blocks."""
        self._threads.shutdown(wait=wait, cancel_futures=True)

    async def _secrets_for(self, work: TaskWork) -> Mapping[ToolId, ToolSecret]:
        servers = [tool.id for tool in _tools_of(work) if tool.kind is ToolKind.MCP_SERVER]
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
        except WorkStopped as stopped:
            raise stopped.reason from stopped
        except Exception as error:
            raise failure_of(error) from error

    def _output(self, session: TaskSession) -> str:
        session.check()
        performer = _Checked(performer_for(session, self._means))
        return guarded(performer, self._means, context_of(session.work))


@dataclass(frozen=True, slots=True)
class _Checked:
    """A performer whose results hold the task's schema."""

    inner: Performer

    @property
    def session(self) -> TaskSession:
        return self.inner.session

    def perform(self, context: str) -> str:
        return _checked(self.inner.perform(context), self.session.work.task.output_schema)


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


def _tools_of(work: TaskWork) -> Iterator[Tool]:
    """Of all roles that may take part."""
    yield from work.tools
    if work.hierarchy:
        for colleague in (work.hierarchy.manager, *work.hierarchy.colleagues):
            yield from colleague.tools


async def _end(session: TaskSession) -> None:
    session.abandon()
    await session.closed(CLOSING_SECONDS)
