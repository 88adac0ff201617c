"""CrewAI's agent executor, its own steps called one after the other instead of through its flow engine.

CrewAI 1.15 runs an agent's few steps (ask the model, run its tools, ask again) as a Flow: a state machine with an
event loop per run, locks around its state, a definition read by reflection for every instance and a thread hop per
step. `Agent.executor_class` is the place it offers for another executor. This one inherits each step, so prompts,
tools, parsing and recovery are CrewAI's; only who calls which step next is written here. Planning (which the flow is
for) is never switched on by us.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from crewai.agents.agent_executor import AgentExecutor, AgentExecutorState
from crewai.agents.parser import AgentAction
from crewai.utilities.agent_utils import has_reached_max_iterations
from crewai.utilities.tool_result_artifacts import ToolResultArtifact, ToolResultArtifactStore
from pydantic import BaseModel, model_validator

from domain.errors import FailureCode, RunFailed

_STEPS: Final = (
    "initialize_reasoning",
    "call_llm_and_parse",
    "call_llm_native_tools",
    "execute_native_tool",
    "execute_tool_action",
    "recover_from_context_length",
    "recover_from_parser_error",
    "finalize",
    "_setup_executor",
    "_flow_post_init",
    "_prepare_tool_result_for_context",
)


class DirectExecutor(AgentExecutor):
    """An AgentExecutor without the flow around it; one instance carries out one task."""

    @model_validator(mode="after")
    def _setup_executor(self) -> Self:
        # This and the next are in place of the methods of these names that set up the flow.
        self._state = AgentExecutorState()
        return self

    def _flow_post_init(self, definition: Any = None) -> None:
        del definition

    @property
    def state(self) -> AgentExecutorState:
        # The flow hands out a proxy that locks each access; here one thread at a time has it.
        state: AgentExecutorState = self._state
        return state

    def __setattr__(self, name: str, value: Any) -> None:
        # As in the flow, but the fields are asked of the class: of an instance, pydantic warns each time.
        if name in type(self).model_fields or name in self.__private_attributes__:
            BaseModel.__setattr__(self, name, value)
        else:
            object.__setattr__(self, name, value)

    def _prepare_tool_result_for_context(self, execution_result: dict[str, Any]) -> str:
        if self._tool_result_artifact_store is None:
            self._tool_result_artifact_store = _NumberedResults()
        return super()._prepare_tool_result_for_context(execution_result)

    def kickoff(self, *_: Any, **__: Any) -> None:
        """Run the steps until there is a final answer.

        Raises:
            RunFailed: MAX_ITERATIONS, where CrewAI would ask the model once more to answer at any cost.
        """
        self.initialize_reasoning()
        while not self._is_answered():
            if has_reached_max_iterations(self._state.iterations, self.max_iter):
                raise RunFailed(
                    FailureCode.MAX_ITERATIONS, f"The role found no answer within {self.max_iter} iterations."
                )
        self.finalize()

    def _is_answered(self) -> bool:
        if self._state.use_native_tools:
            native: str = self.call_llm_native_tools()
            return self._goes_on(self.execute_native_tool() if native == "native_tool_calls" else native)
        parsed: str = self.call_llm_and_parse()
        if parsed == "parsed" and isinstance(self._state.current_answer, AgentAction):
            return self._goes_on(self.execute_tool_action())
        return self._goes_on(parsed)

    def _goes_on(self, route: str) -> bool:
        if route in {"tool_completed", "native_tool_completed"}:
            self._state.iterations += 1
        elif route == "context_error":
            self.recover_from_context_length()
        elif route == "parser_error":
            self.recover_from_parser_error()
        return route in {"native_finished", "parsed", "tool_result_is_final"}


class _NumberedResults(ToolResultArtifactStore):
    """Long results that CrewAI puts aside, under names that a later run of the attempt gives them again.

    With CrewAI's random names, the journal would know no call again that comes after such a result.
    """

    def __init__(self) -> None:
        # The directory is made with the first result: most tasks have no long one.
        self._is_made = False
        self._count = 0

    def store(self, content: str, estimated_token_count: int) -> ToolResultArtifact:
        if not self._is_made:
            super().__init__()
            self._is_made = True
        self._count += 1
        name = f"tool-result-{self._count}"
        artifact = super().store(content, estimated_token_count)
        return replace(artifact, artifact_id=name, relative_path=Path(name, artifact.file_path.name))

    def cleanup(self) -> None:
        if self._is_made:
            super().cleanup()


def executor_class() -> type[AgentExecutor]:
    """DirectExecutor, or CrewAI's own where a step that it calls is gone."""
    return DirectExecutor if all(hasattr(AgentExecutor, step) for step in _STEPS) else AgentExecutor
