"""The inputs of kickoffs, and of what becomes of executions."""

from decimal import Decimal

import strawberry
from strawberry.scalars import JSON

from domain.model.caching import CacheMode
from domain.model.routing import QualityPreference
from domain.model.team import WhenBusy
from resolvers.filters import ExecutionStatusFilter, MomentFilter
from resolvers.inputs import described


@strawberry.input(description="A task for one execution.")
class KickoffTaskInput:
    description: str = described("What is to be done; {placeholders} are filled from the inputs.", ...)
    expected_output: str = described("What a good result looks like; may have {placeholders} too.", ...)
    kind: str | None = described("The kind of work.", None)
    required_skills: list[str] | None = described("What is needed for it: who does it is matched by that.", None)
    name: str | None = described("Unique among the tasks of this kickoff; made from its kind by default.", None)
    priority: int | None = described("0 to 9, 9 first; 5 by default.", None)
    depends_on: list[str] | None = described("The names of tasks of this kickoff that it waits for.", None)


@strawberry.input(description="How an execution is refined.")
class RefinementInput:
    max_passes: int | None = described("Most passes, 1 to 10; 3 by default.", None)
    threshold: float | None = described("The mean score, 0 to 1, that is good enough; 0.8 by default.", None)


@strawberry.input(description="Starts an execution of a team.")
class KickoffTeamInput:
    team_id: strawberry.ID = described("The team.", ...)
    inputs: JSON | None = described("A value for each {placeholder} of the tasks.", None)
    tasks: list[KickoffTaskInput] | None = described(
        "Up to 50 tasks for this execution alone, in the place of the team's own.", None
    )
    max_iterations: int | None = described("Most rounds per task; the team's setting by default.", None)
    execution_timeout_seconds: float | None = described("Most seconds in all; the team's setting by default.", None)
    task_timeout_seconds: float | None = described("Most seconds per task; the team's setting by default.", None)
    quality_preference: QualityPreference | None = described("How models are chosen; BALANCED by default.", None)
    max_budget: Decimal | None = described("Most dollars in all; no limit of its own without one.", None)
    max_task_budget: Decimal | None = described("Most dollars per task; a task's own lower limit stays.", None)
    priority: int | None = described("0 to 9 among the tenant's executions, 9 first; 5 by default.", None)
    max_parallel_tasks: int | None = described("Most tasks at once, 1 to 16; the team's setting by default.", None)
    refinement: RefinementInput | None = described(
        "Let an evaluator judge the result, and do the last task again until it is good enough; not without it.", None
    )
    when_busy: WhenBusy | None = described(
        "What to do while an execution of the team is under way; the team's setting by default.", None
    )
    cache: CacheMode | None = described(
        "Whether an earlier execution may answer; by default USE where the team's setting is so, else BYPASS.", None
    )
    idempotency_key: str | None = described(
        "The same key and input give the first execution again; kept for 24 hours.", None
    )


_KEY = "The same key and input give the first result again, and change nothing; kept for 24 hours."


@strawberry.input(description="Which execution to stop.")
class CancelExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Which execution to hold up.")
class PauseExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Which execution to let go on.")
class ResumeExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    idempotency_key: str | None = described(_KEY, None)


_PAUSED = "Whether it begins paused, so that its tasks can be changed first; `resumeExecution` lets it go on."


@strawberry.input(description="Which execution to try again; it has to be FAILED or CANCELLED.")
class RetryExecutionInput:
    execution_id: strawberry.ID = described("The execution.", ...)
    is_paused: bool | None = described(_PAUSED, None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="From where an execution is to go another way.")
class ForkExecutionInput:
    execution_id: strawberry.ID = described("The execution, in whatever state.", ...)
    from_task: strawberry.ID = described("The task execution from which on work is done anew.", ...)
    edited_output: str | None = described(
        "Takes the place of what that task would do; then only what depends on it is done anew.", None
    )
    inputs: JSON | None = described("Values for all {placeholders} from there on; by default those it had.", None)
    is_paused: bool | None = described(_PAUSED, None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Changes to a task for one execution, which is PAUSED; what is left out stays.")
class UpdateTaskExecutionInput:
    task_execution_id: strawberry.ID = described("The task execution; it has to be PENDING.", ...)
    description: str | None = described("What is to be done; no placeholders are filled in it.")
    expected_output: str | None = described("What a good result looks like.")
    role_id: strawberry.ID | None = described("Who does it: a role that was active at the kickoff.")
    model: str | None = described("The model to call, instead of the role's; null for the role's.")
    max_budget: Decimal | None = described("Most dollars; null for no limit of its own.")
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Agrees with the output of a task.")
class ApproveTaskInput:
    approval_id: strawberry.ID = described("The approval, of the kind TASK.", ...)
    output: str | None = described("An output in place of the one that was shown; that one by default.", None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Does not agree with the output of a task.")
class RejectTaskInput:
    approval_id: strawberry.ID = described("The approval, of the kind TASK.", ...)
    feedback: str | None = described("What to do better: the task is tried once more; without it, it fails.", None)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Answers the question of a role.")
class AnswerQuestionInput:
    approval_id: strawberry.ID = described("The approval, of the kind QUESTION.", ...)
    answer: str = described("What the role is told.", ...)
    idempotency_key: str | None = described(_KEY, None)


@strawberry.input(description="Which executions to stop; all given conditions must hold, and there must be one.")
class CancelFilter:
    project_id: strawberry.ID | None = described("Those of this project.", None)
    team_id: strawberry.ID | None = described("Those of this team.", None)
    status: ExecutionStatusFilter | None = described("By status; what is over already is left alone.", None)
    created_at: MomentFilter | None = described("By the moment of the kickoff.", None)


@strawberry.input(description="Which executions to stop.")
class CancelExecutionsInput:
    filter: CancelFilter = described("Those that meet all of these conditions at the first request.", ...)
    idempotency_key: str | None = described(
        "The same key and filter go on where the first request stopped, and leave alone what was kicked off since;"
        " kept for 24 hours.",
        None,
    )
