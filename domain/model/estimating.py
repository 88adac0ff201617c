"""What an execution of a team would take, task by task: from what the team took so far, else by rules of thumb.

The rules of thumb are the constants below. They say what may well be, not the worst case, which no estimate would be
worth anything for: that is what budgets are there for. Attempts that fail, fallbacks to other models, refinement, and
the time that people take to answer are not in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal
from functools import cached_property
from typing import Any, Final

from domain.errors import NoActiveRole, RunFailed, TooManyTasks
from domain.model.delegation import allowed_for_task, best_suited
from domain.model.estimate import Basis, Estimate, TaskEstimate
from domain.model.execution import Execution, TaskExecution
from domain.model.history import ENOUGH_EXECUTIONS, Quantiles, TaskHistory, TeamHistory
from domain.model.identity import RevisionId, RoleId, TaskExecutionId, new_id
from domain.model.matching import Record, manager_of, needs_records
from domain.model.model import Tier
from domain.model.model_names import SIMULATED
from domain.model.planning import plan, wanted_inputs
from domain.model.prices import SMALLEST, ZERO, TokenCounts
from domain.model.revision import TeamSnapshot
from domain.model.role import Role
from domain.model.routing import Choice, Demand, Offer, QualityPreference, demand_of, route
from domain.model.span import Span, total
from domain.model.team import Oversight, Process
from domain.model.tokens import estimated_tokens

FRAME_TOKENS: Final = 50
"""What is said around a role and its task in each prompt; in crews without tools it was 51 to 53."""

TOOL_TOKENS: Final = 150
"""What a tool's description adds to each prompt: 140 for a plain calculator, as it is sent."""

STEP_TOKENS: Final = 800
"""What one call of a tool and its result add to the prompts behind it."""

ASK_TOKENS: Final = 80
"""What a model writes to call a tool."""

VERDICT_TOKENS: Final = Span(20, 200)
"""What a model writes to judge a result, or to choose who is to do a task."""

OUTPUT_BASE: Final = Span(80, 600)
OUTPUT_PER_TOKEN: Final = Span(3, 20)
"""A result has so many tokens, and so many more for each token that says what is expected."""

TOKENS_PER_WORD: Final = 1.4
WORDS_PER_PAGE: Final = 500
LENGTH_OFF_BY: Final = (0.7, 1.5)
"""Where a length is asked for, results keep to it about so well."""

THINKING: Final = 2
"""Models of the PREMIUM tier may write as much again before they answer."""

LONGEST_CONTEXT_TOKENS: Final = 25_000
"""Of earlier outputs a task is shown no more."""

SECONDS_PER_CALL: Final = {
    Tier.LOCAL: Span(0.2, 3.0),
    Tier.STANDARD: Span(0.5, 2.5),
    Tier.PREMIUM: Span(0.8, 5.0),
}
SECONDS_PER_TOKEN: Final = {
    Tier.LOCAL: Span(0.01, 0.1),
    Tier.STANDARD: Span(0.005, 0.02),
    Tier.PREMIUM: Span(0.01, 0.04),
}
"""Until the first token of an answer, and for each that follows."""

TOOL_SECONDS: Final = 5.0
"""The longest that a tool usually takes."""

MOST_TRIES: Final = 2
"""A result that a guardrail, or a manager, sends back is usually right the second time."""

_LENGTH: Final = re.compile(
    r"(?<!\d)(?<!\d[.,])"
    r"(?:(\d{1,3}(?:[,.'\u2019 \u00a0\u202f]\d{3}){1,3})|(\d{1,9}(?:[.,]\d{1,2})?))"
    r"[ \t\u00a0\u202f-]{0,3}(word|page)s?\b",
    re.IGNORECASE,
)
"""A number in groups of three digits, or one that may have decimals, of words or pages."""

_NO_DIGIT: Final = re.compile(r"\D")
_NO_TOKENS: Final = Span(0, 0)
_NO_MONEY: Final = Span(ZERO, ZERO)
_NO_SECONDS: Final = Span(0.0, 0.0)
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what a team is estimated.

    `preference` is the execution's. `default_model` and `max_output_tokens` are the deployment's, as routing knows
    them. `inputs` that are missing are named, not asked for.
    """

    offers: Sequence[Offer]
    preference: QualityPreference = QualityPreference.BALANCED
    default_model: str | None = None
    max_output_tokens: int = 4096
    history: TeamHistory | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


def estimate_of(snapshot: TeamSnapshot, terms: Terms) -> Estimate:
    """The estimate of one execution of the team.

    Raises Invalid where texts would be too long with these inputs.
    """
    return estimate_with_plan(snapshot, terms)[0]


def estimate_with_plan(snapshot: TeamSnapshot, terms: Terms) -> tuple[Estimate, Sequence[TaskExecution]]:
    """The same, and the plan that it stands on; an empty one where nobody could do the work."""
    missing = missing_inputs(snapshot, terms.inputs)
    try:
        planned = planned_run(snapshot, terms)
    except (NoActiveRole, TooManyTasks) as error:
        return _nobody(snapshot, str(error)), ()
    tasks = _Estimator(snapshot, terms, planned).tasks()
    return _whole(snapshot, planned, tasks, missing), planned


def missing_inputs(snapshot: TeamSnapshot, inputs: Mapping[str, Any]) -> list[str]:
    """The placeholders that no input is given for."""
    active = [role for role in snapshot.roles if role.is_active]
    return [name for name in wanted_inputs(snapshot.tasks, active) if inputs.get(name) is None]


def planned_run(snapshot: TeamSnapshot, terms: Terms) -> list[TaskExecution]:
    """The tasks as a run would have them; a placeholder without an input stays as it is.

    Raises NoActiveRole, TooManyTasks; Invalid as above.
    """
    team = snapshot.team
    standing_in = {name: f"{{{name}}}" for name in missing_inputs(snapshot, terms.inputs)}
    execution = Execution(
        team.tenant_id,
        team.project_id,
        team.id,
        RevisionId(new_id()),
        {**terms.inputs, **standing_in},
        team.max_iterations,
        team.execution_timeout_seconds,
        team.task_timeout_seconds,
        quality_preference=terms.preference,
        max_parallel_tasks=team.max_parallel_tasks,
    )
    return plan(snapshot, execution, _records(snapshot, terms.history))


def _records(snapshot: TeamSnapshot, history: TeamHistory | None) -> Mapping[RoleId, Record] | None:
    """The past success of the roles, where it may decide who does a task."""
    if history is None or not needs_records(snapshot.team, snapshot.roles, snapshot.tasks):
        return None
    past = {role.title: Record(role.completed, role.failed) for role in history.roles}
    return {role.id: past[role.title] for role in snapshot.roles if role.title in past}


# ---------------------------------------------------------------- one task


@dataclass(frozen=True, slots=True)
class _Usage:
    """What a part of the work takes."""

    prompt: Span[int] = _NO_TOKENS
    completion: Span[int] = _NO_TOKENS
    amount: Span[Decimal] = _NO_MONEY
    seconds: Span[float] = _NO_SECONDS
    calls: Span[int] = _NO_TOKENS

    def __add__(self, other: "_Usage") -> "_Usage":
        return _Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.amount + other.amount,
            self.seconds + other.seconds,
            self.calls + other.calls,
        )

    def sent_back(self) -> "_Usage":
        """Done once, or as often as what is sent back is done."""
        return self + self.perhaps(MOST_TRIES - 1)

    def perhaps(self, times: int) -> "_Usage":
        """Not done at all, or so many times."""
        return _Usage(**{name: _up_to(getattr(self, name), times) for name in _PARTS})


_NOTHING: Final = _Usage()
_PARTS: Final = ("prompt", "completion", "amount", "seconds", "calls")


def _up_to(span: Span[Any], times: int) -> Span[Any]:
    return Span(type(span.high)(0), times * span.high)


@dataclass(frozen=True, slots=True)
class _Voice:
    """A role with the model that its calls would go to; `told` are the tokens that say who it is."""

    role: Role
    choice: Choice
    told: int
    tools: int
    cap: int
    can_hand_on: bool

    @property
    def tier(self) -> Tier:
        return self.choice.model.tier

    def calls(self, first: Span[int], output: Span[int], *, most: int, step: int) -> _Usage:
        """From one to `most` calls, of which each is `step` tokens longer than the one before."""
        prompt = Span(first.low, most * first.high + step * (most * (most - 1) // 2))
        completion = Span(output.low, output.high + (most - 1) * ASK_TOKENS)
        return self.usage(Span(1, most), prompt, completion)

    def usage(self, calls: Span[int], prompt: Span[int], completion: Span[int]) -> _Usage:
        amount = Span(
            self._cost(calls.low, prompt.low, completion.low), self._cost(calls.high, prompt.high, completion.high)
        )
        return _Usage(prompt, completion, amount, self._seconds(calls, completion), calls)

    def _cost(self, calls: int, prompt: int, completion: int) -> Decimal:
        """At the prices of calls of middling length: whoever pays more for long prompts pays by the single call."""
        counts = TokenCounts(-(-prompt // calls), -(-completion // calls))
        return (calls * self.choice.deployment.prices.cost(counts)).quantize(SMALLEST, ROUND_UP)

    def _seconds(self, calls: Span[int], completion: Span[int]) -> Span[float]:
        if self.choice.model.provider == SIMULATED:
            return Span(0.0, float(calls.high))
        call, token = SECONDS_PER_CALL[self.tier], SECONDS_PER_TOKEN[self.tier]
        tools = TOOL_SECONDS * (calls.high - 1) if self.tools else 0.0
        low = calls.low * call.low + completion.low * token.low
        high = calls.high * call.high + completion.high * token.high + tools
        return Span(round(low, 3), round(high, 3))


class _Estimator:
    """The tasks of one plan, each in view of the outputs of those before it."""

    def __init__(self, snapshot: TeamSnapshot, terms: Terms, planned: Sequence[TaskExecution]) -> None:
        self.snapshot = snapshot
        self.team = snapshot.team
        self.terms = terms
        self.planned = planned
        self.active = [role for role in snapshot.roles if role.is_active]
        self.roles = {role.id: role for role in snapshot.roles}
        self.tools = {role.id: len(snapshot.tools_of(role)) for role in self.active}
        self.outputs: dict[TaskExecutionId, Span[int]] = {}
        self.past = {task.name: task for task in terms.history.tasks} if terms.history else {}

    def tasks(self) -> list[TaskEstimate]:
        return [self._task(task) for task in self.planned]

    @cached_property
    def manager(self) -> Role | None:
        is_led = self.team.process is Process.HIERARCHICAL
        return manager_of(self.team, self.snapshot.roles) if is_led else None

    def _task(self, task: TaskExecution) -> TaskEstimate:
        role = self.roles[task.role_id]
        context = self._context(task)
        self.outputs[task.id] = _output_of(task, role.max_tokens or self.terms.max_output_tokens)
        try:
            voice = self._voice(task, role, context)
            usage = self._with_checks(task, voice, self._work(task, voice, context))
        except RunFailed as failure:
            return self._without_model(task, role, str(failure))
        past = self.past.get(task.name)
        if past is not None and _is_enough(past):
            return self._as_so_far(task, role, voice, past)
        return TaskEstimate(
            task.name,
            role.title,
            voice.choice.model.name,
            voice.tier,
            usage.prompt,
            usage.completion,
            usage.amount,
            usage.seconds,
            Basis.HEURISTIC,
            f"{self._why(task, voice)} By rules of thumb: {_counted(usage.calls, 'model call')}.{_free(voice.choice)}",
        )

    def _why(self, task: TaskExecution, voice: _Voice) -> str:
        led = f" {self.manager.title} leads." if self.manager and self.manager.id != voice.role.id else ""
        return f"{task.role_reason or ''}{led} {voice.choice.reason}".strip()

    def _context(self, task: TaskExecution) -> Span[int]:
        """The tokens of the earlier outputs that the task is shown."""
        seen = [self.outputs[other.id] for other in self.planned[: task.position] if self._sees(task, other)]
        shown = total(seen, 0)
        return Span(min(shown.low, LONGEST_CONTEXT_TOKENS), min(shown.high, LONGEST_CONTEXT_TOKENS))

    def _sees(self, task: TaskExecution, other: TaskExecution) -> bool:
        """As a run lets it see."""
        match self.team.process:
            case Process.COLLABORATIVE:
                return True
            case Process.PARALLEL:
                return other.id in task.waits_for
            case _:
                return not task.waits_for or other.id in task.waits_for

    # Who speaks.

    def _voice(self, task: TaskExecution, role: Role, context: Span[int]) -> _Voice:
        """The role with the model that a run would try first. Raises RunFailed where there is none."""
        choice = route(self.terms.offers, self._demand(task, role, context)).first
        told = FRAME_TOKENS + estimated_tokens(" ".join([role.title, role.description, role.backstory, *role.goals]))
        tools = self.tools.get(role.id, 0) + role.can_ask
        cap = role.max_tokens or self.terms.max_output_tokens
        cap = min(cap, choice.deployment.max_output_tokens or cap)
        return _Voice(role, choice, told + TOOL_TOKENS * tools, tools, cap, self._may_hand_on(role))

    def _demand(self, task: TaskExecution, role: Role, context: Span[int]) -> Demand:
        return demand_of(
            description=task.description,
            expected_output=task.expected_output,
            role=role,
            preference=task.quality_preference,
            default_model=self.terms.default_model,
            needs_tools=bool(self.tools.get(role.id)) or role.can_ask or self._may_hand_on(role),
            prompt_tokens=_told(task) + context.high,
            output_tokens=role.max_tokens or self.terms.max_output_tokens,
        )

    def _may_hand_on(self, role: Role) -> bool:
        return self.manager is not None and (role.is_delegation_allowed or role.id == self.manager.id)

    # What they do.

    def _work(self, task: TaskExecution, voice: _Voice, context: Span[int]) -> _Usage:
        if self.manager is None:
            return self._alone(task, voice, context)
        coworkers = allowed_for_task(self.manager, self.active, task.kind, voice.role.id)
        leader = voice if voice.role.id == self.manager.id else self._voice(task, self.manager, context)
        if not coworkers:
            return self._alone(task, leader, context)
        is_meant = coworkers[0].id == voice.role.id
        does = coworkers[0] if is_meant else best_suited(coworkers, f"{task.kind} {task.name} {task.description}")
        hand = voice if is_meant else self._voice(task, does or coworkers[0], context)
        if self.team.oversight is Oversight.LIGHT:
            chosen = _NOTHING if is_meant or len(coworkers) == 1 else self._verdict(leader, task, _NO_TOKENS)
            return chosen + self._alone(task, hand, context)
        return self._led(task, leader, hand, context)

    def _alone(self, task: TaskExecution, voice: _Voice, context: Span[int]) -> _Usage:
        output = self._written(task, voice)
        first = Span(voice.told + _told(task) + context.low, voice.told + _told(task) + context.high)
        if voice.tools or voice.can_hand_on:
            return voice.calls(first, output, most=self.team.max_iterations, step=STEP_TOKENS)
        return voice.calls(first, output, most=min(2, self.team.max_iterations), step=output.high)

    def _led(self, task: TaskExecution, leader: _Voice, hand: _Voice, context: Span[int]) -> _Usage:
        """The manager hands the task on, in pieces or not at all, and writes the result; if it is to, it reviews it."""
        output, most = self._written(task, leader), max(2, self.team.max_iterations)
        first = Span(leader.told + _told(task) + context.low, leader.told + _told(task) + context.high)
        led = leader.calls(first, output, most=most, step=max(STEP_TOKENS, output.high))
        work = led + self._alone(task, hand, context).perhaps(MOST_TRIES)
        if self.team.oversight is Oversight.CLOSE:
            return work.sent_back() + self._verdict(leader, task, output)
        return work

    def _with_checks(self, task: TaskExecution, voice: _Voice, work: _Usage) -> _Usage:
        """The work, and the checks of its result where the task has a guardrail."""
        if not task.guardrail:
            return work
        output = self.outputs[task.id]
        return work.sent_back() + self._verdict(voice, task, output, more=estimated_tokens(task.guardrail)).sent_back()

    def _verdict(self, voice: _Voice, task: TaskExecution, output: Span[int], more: int = 0) -> _Usage:
        told = FRAME_TOKENS + _told(task) + more
        return voice.usage(Span(1, 1), Span(told + output.low, told + output.high), VERDICT_TOKENS)

    def _written(self, task: TaskExecution, voice: _Voice) -> Span[int]:
        """What the voice writes, with what it thinks before."""
        output = self.outputs[task.id]
        high = output.high * (THINKING if voice.tier is Tier.PREMIUM else 1)
        return Span(min(output.low, voice.cap), min(high, voice.cap))

    # What is known better.

    def _as_so_far(self, task: TaskExecution, role: Role, voice: _Voice, past: TaskHistory) -> TaskEstimate:
        """By what the task took so far; at today's prices, unless the same model did it all."""
        prompt, completion = _tokens(past.prompt_tokens), _tokens(past.completion_tokens)
        cost = past.cost if self._only_with(role, voice.choice.model.name) else None
        amount = voice.usage(_calls(past.calls), prompt, completion).amount if cost is None else _money(cost)
        prices = "what it cost then" if cost else f"the prices of {voice.choice.model.name} now"
        reason = (
            f"{self._why(task, voice)} By the middle 80 % of {past.completed} executions of this task, at {prices}."
            f"{_free(voice.choice)}"
        )
        seconds = _NO_SECONDS if past.seconds is None else Span(past.seconds.low, past.seconds.high)
        return TaskEstimate(
            task.name,
            role.title,
            voice.choice.model.name,
            voice.tier,
            prompt,
            completion,
            amount,
            seconds,
            Basis.HISTORY,
            reason,
        )

    def _only_with(self, role: Role, model: str) -> bool:
        past = [one for one in self.terms.history.roles if one.title == role.title] if self.terms.history else []
        used = {record.model for one in past for record in one.models}
        return used == {model}

    def _without_model(self, task: TaskExecution, role: Role, problem: str) -> TaskEstimate:
        return _empty(task.name, role.title, f"{task.role_reason or ''} {problem}".strip())


def _empty(name: str, role: str | None, reason: str) -> TaskEstimate:
    return TaskEstimate(name, role, None, None, _NO_TOKENS, _NO_TOKENS, _NO_MONEY, _NO_SECONDS, Basis.HEURISTIC, reason)


def _told(task: TaskExecution) -> int:
    schema = estimated_tokens(str(task.output_schema)) if task.output_schema else 0
    return estimated_tokens(task.description) + estimated_tokens(task.expected_output) + schema


def _output_of(task: TaskExecution, cap: int) -> Span[int]:
    """How long the result may well be: as long as is asked for, else by how much is said of it."""
    words = max(_lengths_in(task.expected_output), default=0)
    if words:
        tokens = words * TOKENS_PER_WORD
        low, high = (round(tokens * factor) for factor in LENGTH_OFF_BY)
    else:
        expected = estimated_tokens(task.expected_output)
        low, high = (
            base + expected * each
            for base, each in (
                (OUTPUT_BASE.low, OUTPUT_PER_TOKEN.low),
                (OUTPUT_BASE.high, OUTPUT_PER_TOKEN.high),
            )
        )
    return Span(max(1, min(low, cap)), max(1, min(high, cap)))


def _lengths_in(text: str) -> Iterator[float]:
    """The lengths that the text speaks of, in words."""
    for grouped, plain, unit in _LENGTH.findall(text):
        number = float(_NO_DIGIT.sub("", grouped) if grouped else plain.replace(",", "."))
        yield number * (WORDS_PER_PAGE if unit.lower() == "page" else 1)


def _is_enough(past: TaskHistory) -> bool:
    has_figures = past.prompt_tokens is not None and past.completion_tokens is not None
    return past.completed >= ENOUGH_EXECUTIONS and has_figures


def _tokens(quantiles: Quantiles | None) -> Span[int]:
    return _NO_TOKENS if quantiles is None else Span(round(quantiles.low), round(quantiles.high))


def _calls(quantiles: Quantiles | None) -> Span[int]:
    return Span(1, 1) if quantiles is None else Span(max(1, round(quantiles.low)), max(1, round(quantiles.high)))


def _money(quantiles: Quantiles) -> Span[Decimal]:
    low, high = (Decimal(str(value)).quantize(SMALLEST, ROUND_UP) for value in (quantiles.low, quantiles.high))
    return Span(low, high)


def _free(choice: Choice) -> str:
    if choice.model.provider == SIMULATED:
        return " The model is simulated: it costs nothing, and its answers are made up."
    prices = choice.deployment.prices
    is_free = not (prices.prompt or prices.completion or prices.above)
    return " The model runs on a machine of the operator's, and costs nothing." if is_free else ""


# ---------------------------------------------------------------- the whole


def _whole(
    snapshot: TeamSnapshot, planned: Sequence[TaskExecution], tasks: Sequence[TaskEstimate], missing: Sequence[str]
) -> Estimate:
    known = sum(task.basis is Basis.HISTORY for task in tasks)
    return Estimate(
        tasks,
        total((task.prompt_tokens for task in tasks), 0),
        total((task.completion_tokens for task in tasks), 0),
        total((task.amount for task in tasks), ZERO),
        _seconds(snapshot, planned, tasks),
        Basis.HISTORY if tasks and known == len(tasks) else Basis.HEURISTIC,
        _reason(tasks, known, missing),
    )


def _reason(tasks: Sequence[TaskEstimate], known: int, missing: Sequence[str]) -> str:
    parts = ["All tasks stand on their own executions so far." if known == len(tasks) else _mixed(known, len(tasks))]
    without = [task.name for task in tasks if task.model is None]
    if without:
        parts.append(f"No model can be used for {_listed(without)}: nothing is counted there.")
    if missing:
        parts.append(f"No input is given for {_listed(missing)}: what stands there will be longer.")
    return " ".join(parts)


def _mixed(known: int, tasks: int) -> str:
    if not known:
        return "By rules of thumb: too little has been measured yet."
    return f"{known} of {tasks} tasks stand on their own executions so far, the others on rules of thumb."


def _seconds(snapshot: TeamSnapshot, planned: Sequence[TaskExecution], tasks: Sequence[TaskEstimate]) -> Span[float]:
    """One after the other; in a PARALLEL team along the longest way, or as long as its places are taken."""
    spans = [task.seconds for task in tasks]
    if snapshot.team.process is not Process.PARALLEL:
        whole = total(spans, 0.0)
        return Span(round(whole.low, 3), round(whole.high, 3))
    places = snapshot.team.max_parallel_tasks
    low = _longest(planned, [span.low for span in spans], places)
    return Span(low, _longest(planned, [span.high for span in spans], places))


def _longest(planned: Sequence[TaskExecution], seconds: Sequence[float], places: int) -> float:
    ends: dict[TaskExecutionId, float] = {}
    for task, own in zip(planned, seconds, strict=True):  # each stands behind what it waits for
        ends[task.id] = own + max((ends[other] for other in task.waits_for), default=0.0)
    return round(max(max(ends.values(), default=0.0), sum(seconds) / places), 3)


def _nobody(snapshot: TeamSnapshot, reason: str) -> Estimate:
    tasks = [_empty(task.name, None, reason) for task in snapshot.tasks]
    return Estimate(tasks, _NO_TOKENS, _NO_TOKENS, _NO_MONEY, _NO_SECONDS, Basis.HEURISTIC, reason)


def _counted(span: Span[int], what: str) -> str:
    if span.low == span.high:
        return f"{span.low} {what}" if span.low == 1 else f"{span.low} {what}s"
    return f"{span.low} to {span.high} {what}s"


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    quoted = [f"“{name[:60]}”" for name in shown[:_SHOWN]]
    return ", ".join(quoted if len(shown) <= _SHOWN else [*quoted, "…"])
