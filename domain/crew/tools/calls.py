"""One call of a tool: answered from the journal of the attempt, or made, told and kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from domain.crew.session import TaskSession
from domain.errors import FailureCode, RunFailed
from domain.events import CallReplayed
from domain.model.journal import CallKey, CallKind, JournalEntry
from domain.model.texts import storable

MAX_RESULT_CHARACTERS: Final = 200_000
"""What a model is given of one result, and the journal keeps; CrewAI lets the model read long ones in parts."""


TOOL_ERROR: Final = "tool_error"
"""What a span says of a tool that could not do what it was asked; the words of that go to the model alone."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that a role wants to make. `identity` is what tells the tool from another one of the same name.

    Not repeatable: it stands in the journal before it is made, and its answer counts in later attempts, too.
    """

    session: TaskSession
    tool: str
    identity: str
    arguments: Mapping[str, Any]
    is_repeatable: bool

    def result(self, act: Callable[[], tuple[str, bool]]) -> str:
        """What the tool answered now or in an earlier run; `act` makes the call, and says whether it went wrong.

        Raises:
            WorkAbandoned: nobody waits for it.
            WorkStopped: an earlier run began this call, and nobody knows what became of it; it cannot be kept; or
                something else ended the work.
        """
        self.session.check()
        # The role is part of it: two may ask the same tool the same thing and be told something else.
        role = str(self.session.work.role_id)
        asked = {"tool": self.tool, "identity": self.identity, "arguments": self.arguments, "role": role}
        key, ordinal, known = self.session.work.journal.next(CallKind.TOOL, asked)
        if known is not None:
            return self._replayed(known)
        return self._made(self._entry(key, ordinal), act)

    def _replayed(self, known: JournalEntry) -> str:
        if known.answer is None:
            raise self.session.stopped(self._interrupted())
        self.session.tell(CallReplayed, kind=known.kind, ordinal=known.ordinal)
        return str(known.answer["text"])

    def _made(self, entry: JournalEntry, act: Callable[[], tuple[str, bool]]) -> str:
        if not self.is_repeatable:
            self.session.keep(entry)
        self.session.tool_called(self.tool, self.arguments)
        text, is_error = self._acted(act)
        text = storable(text[:MAX_RESULT_CHARACTERS])
        self.session.finish(replace(entry, answer=self._answer(text, is_error=is_error)))
        self.session.tool_returned(self.tool, text, is_error=is_error)
        return text

    def _acted(self, act: Callable[[], tuple[str, bool]]) -> tuple[str, bool]:
        """What came of it, in a span; never its arguments or its result, for those may hold anything."""
        work = self.session.work
        about = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": self.tool,
            "gen_ai.tool.type": "function",
            "gen_ai.agent.id": str(work.role_id),
            "regatta.execution.id": str(work.ownership.execution_id),
            "regatta.task_execution.id": str(work.task_execution_id),
        }
        with self.session.tracing.span(f"execute_tool {self.tool}", about) as span:
            text, is_error = act()
            if is_error:
                span.fail(TOOL_ERROR)
        return text, is_error

    def _answer(self, text: str, *, is_error: bool) -> dict[str, Any]:
        answer = {"text": text, "is_error": is_error}
        # By this mark an attempt knows the answers that it has to take over from those before it.
        return answer if self.is_repeatable else {**answer, "once": True}

    def _entry(self, key: CallKey, ordinal: int) -> JournalEntry:
        work = self.session.work
        return JournalEntry(
            work.ownership.tenant_id,
            work.ownership.execution_id,
            work.task_execution_id,
            work.task.attempts,
            key.kind,
            key.request_hash,
            key.occurrence,
            ordinal,
        )

    def _interrupted(self) -> RunFailed:
        message = (
            f"The tool {self.tool!r} was being called when the worker was lost, and nobody knows whether it did its "
            "work. It must not be called twice, so a human has to decide: retry or fork the execution."
        )
        return RunFailed(FailureCode.TOOL_INTERRUPTED, message)
