"""One generation from its claim to its end: analysed, composed by a model or by rules, checked, and READY or FAILED.

Every state is on its row before the next one begins, and what a model was paid for is in its journal: whoever takes
the generation over goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

import structlog
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from domain.errors import FailureCode, Invalid, OwnershipLost, RunFailed, Unavailable
from domain.model.analysing import analyse
from domain.model.analysis import ObjectiveAnalysis
from domain.model.blueprint import Blueprint, as_document, blueprint_of
from domain.model.composing import Composition, Ground, compositions, inputs_note, preferring
from domain.model.composition_check import problems_with, proposal_of, sentences
from domain.model.composition_prompt import Message, composition_schema, messages_of, most_answer_tokens, repaired
from domain.model.documents import of_document, to_document
from domain.model.generation import (
    WORKING,
    ComposedBy,
    Constraints,
    Fallback,
    Generation,
    GenerationFailureCode,
    GenerationStatus,
)
from domain.model.identity import ProjectId, TeamId, TenantId, utc_now
from domain.model.journal import CallKey, CallKind, Journal, JournalEntry
from domain.model.ledger import CallOutcome, LedgerEntry
from domain.model.library import shipped_templates
from domain.model.matching_scores import by_skill
from domain.model.model_names import SIMULATED
from domain.model.revision import decode
from domain.model.routing import ComplexityFactor, Demand, Offer, Route, factors_of, route
from domain.model.skills_catalogue import skills
from domain.model.texts import seconds_of
from domain.model.tokens import estimated_request_tokens
from domain.model.tool import Tool
from domain.model.validation import Finding, FindingCode, Severity, Validation
from domain.ports import Hints, ModelAnswer, ModelCatalogue, ModelGateway, ModelRequest, Reader, generation_topic
from domain.ports.generations import ClaimedGeneration, GenerationStore, GenerationWork
from domain.ports.histories import Histories
from domain.ports.measuring import UNMEASURED, Measuring
from domain.ports.tracing import NO_TRACING, SpanKind, Tracing
from domain.services.generation_sink import GenerationSink
from domain.services.spans import GENERATION, about_generation, note_generated

MOST_DEATHS: Final = 3
"""A generation whose workers were lost so often is given up: they seem to die of it. Handing it over counts, too."""

MOST_VARIANTS: Final = 24
"""So many teams that rules compose are looked at, each cheaper than the one before."""

FALLBACK_SHARE, FALLBACK_SECONDS = 0.1, 10.0
"""What of its time is kept for the rules, where these may compose: a share, and so many seconds at most."""

TELL_SECONDS: Final = 1.0
"""How often it is told how far the model has come."""

_TEMPERATURE: Final = 0.2
_STORE_PAUSE: Final = 0.25
_LONG_MESSAGE: Final = 2_000
_SHOWN_CALLS: Final = 100

_S, _F = GenerationStatus, GenerationFailureCode
_BEFOREHAND: Final = frozenset({FindingCode.NO_MODEL, FindingCode.UNUSABLE_MODEL})
"""Errors that are no fault of who composed: no team could do better before somebody sets a key, say."""
_OF_CONSTRAINTS: Final = frozenset(
    {
        FindingCode.TOO_MANY_ROLES,
        FindingCode.EXPERTISE_TOO_HIGH,
        FindingCode.TOOL_NOT_ALLOWED,
        FindingCode.OVER_BUDGET,
    }
)

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Assessment(Protocol):
    """Says of a team what is wrong with it, and what it would take; of tools, which can be used."""

    def usable(self, tools: Sequence[Tool]) -> Sequence[Tool]: ...

    async def validate(
        self,
        tenant_id: TenantId,
        blueprint: Blueprint,
        *,
        team_id: TeamId | None = None,
        project_id: ProjectId | None = None,
        constraints: Constraints | None = None,
    ) -> Validation: ...


@dataclass(frozen=True, slots=True)
class GenerationRules:
    """`default_model` is the deployment's, None where it routes; `call_seconds` the longest that one call may take."""

    default_model: str | None = None
    call_seconds: float = 300.0
    tell_seconds: float = TELL_SECONDS


@dataclass(frozen=True, slots=True)
class GenerationParts:
    """What all generations of a worker share."""

    store: GenerationStore
    gateway: ModelGateway
    models: ModelCatalogue
    reader: Reader
    histories: Histories
    assess: Assessment
    hints: Hints
    rules: GenerationRules = field(default_factory=GenerationRules)
    measuring: Measuring = UNMEASURED
    tracing: Tracing = NO_TRACING


class _Failed(Exception):
    """The generation ends without a proposal."""

    def __init__(self, code: GenerationFailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:_LONG_MESSAGE]


class _NoProposal(_Failed):
    """…unless rules may compose."""


class GenerationRun:
    """Carries one generation out. All that it does is conditional on the claim that it was made with."""

    def __init__(self, parts: GenerationParts, claimed: ClaimedGeneration) -> None:
        self._parts = parts
        self._claimed = claimed
        self._stored = claimed.generation.status
        self.sink = GenerationSink(parts.store, claimed.ownership, parts.measuring)

    @property
    def _generation(self) -> Generation:
        return self._claimed.generation

    async def carry_out(self) -> None:
        """Returns when it is over, or is not ours any more. Failures are data, never raised.

        Raises CancelledError when it is to stop: what a call in flight costs is booked all the same.
        """
        try:
            with bound_contextvars(generation_id=str(self._generation.id)):
                await self._traced()
        except OwnershipLost:
            _log.info("generation_lost", generation=str(self._generation.id), epoch=self._claimed.ownership.epoch)

    async def _traced(self) -> None:
        """In the trace of the request for it, whichever claim of it this is."""
        about, parent = about_generation(self._claimed), self._generation.trace_parent or ""
        with self._parts.tracing.span(GENERATION, about, kind=SpanKind.CONSUMER, parent=parent) as span:
            await self._to_its_end()
            note_generated(span, self._generation)

    async def _to_its_end(self) -> None:
        limit = asyncio.timeout(max(0.0, self._left()))
        try:
            async with limit:
                await self._work()
        except _Failed as failure:
            await self._fail(failure)
        except OwnershipLost:
            raise
        except TimeoutError as error:
            await self._fail(self._timed_out() if limit.expired() else self._unexpected(error))
        except Exception as error:  # noqa: BLE001 - becomes the failure
            await self._fail(self._unexpected(error))

    def _left(self) -> float:
        """The seconds that are left to it."""
        generation = self._generation
        elapsed = (utc_now() - (generation.started_at or utc_now())).total_seconds()
        return generation.timeout_seconds - elapsed

    def _timed_out(self) -> _Failed:
        return _Failed(_F.TIMED_OUT, f"The generation took longer than {seconds_of(self._generation.timeout_seconds)}.")

    def _unexpected(self, error: Exception) -> _Failed:
        correlation_id = uuid4().hex
        generation = str(self._generation.id)
        _log.error("generation_broke", exc_info=error, correlation_id=correlation_id, generation=generation)
        return _Failed(_F.INTERNAL, f"Unexpected error. Correlation id: {correlation_id}.")

    # ---------------------------------------------------------------- its stages

    async def _work(self) -> None:
        if self._claimed.ownership.epoch > MOST_DEATHS + 1:
            raise _Failed(_F.INTERNAL, f"It was given up: {MOST_DEATHS} workers were lost while they worked on it.")
        constraints = of_document(Constraints, self._generation.constraints)
        present, tools = await self._present(), await self._tools(constraints)
        ground = Ground(
            objective=self._generation.objective,
            constraints=constraints,
            analysis=await self._analysed(constraints),
            tools=tools,
            skills=skills(),
            templates=shipped_templates(),
            present=present,
        )
        if self._generation.fallback_reason is None:
            try:
                await self._by_model(ground)
            except _NoProposal as none:
                if self._generation.fallback is Fallback.OFF:
                    raise
                self._generation.fallback_reason = none.message
            else:
                return
        await self._by_rules(ground)

    async def _present(self) -> Blueprint | None:
        """The team that is to be changed, as it was when that was asked for."""
        team_id, base = self._generation.team_id, self._generation.base_hash
        if team_id is None or base is None:
            return None
        wanted = (team_id, base)
        found = await self._asked(lambda: self._parts.reader.revisions_of(self._generation.tenant_id, [wanted]))
        if wanted not in found:
            raise _Failed(_F.INTERNAL, "The definition of the team that was to be changed is gone.")
        return blueprint_of(decode(found[wanted].content))

    async def _tools(self, constraints: Constraints) -> Sequence[Tool]:
        """The tools of the project that roles may be given, and that can be used here: nobody is offered others."""
        tenant_id, project_id = self._generation.tenant_id, self._generation.project_id
        reader = self._parts.reader
        found = await self._asked(lambda: reader.children(Tool, tenant_id, "project_id", [project_id], ["name", "id"]))
        tools, allowed = found.get(project_id, ()), constraints.tools
        return self._parts.assess.usable([tool for tool in tools if allowed is None or tool.name in allowed])

    async def _analysed(self, constraints: Constraints) -> ObjectiveAnalysis:
        """What the objective asks for; what an earlier owner made of it, if one did: the prompt is made of that."""
        generation = self._generation
        if generation.analysis is not None:
            with suppress(ValidationError):  # of another release
                return of_document(ObjectiveAnalysis, generation.analysis)
        if generation.status in (_S.PENDING, _S.ANALYSING):  # else it is further, with an analysis that cannot be read
            await self._enter(_S.ANALYSING, "Analysing the objective")
        outcomes = await self._asked(lambda: self._parts.histories.skill_outcomes(generation.tenant_id))
        found = analyse(generation.objective, constraints, skills(), shipped_templates(), by_skill(outcomes))
        generation.analysis = to_document(ObjectiveAnalysis, found)
        return found

    # ---------------------------------------------------------------- by a model

    async def _by_model(self, ground: Ground) -> None:
        """Raises _NoProposal where no model can be asked, or none answers with a team that will do."""
        messages = messages_of(ground.objective, ground.constraints, ground.analysis, ground.tools, ground.present)
        work = self._work_for(await self._route(ground, messages))
        await self._enter(_S.COMPOSING, f"Composing with {work.route.first.model.name}")
        answer = await self._answer(work, messages, ground)
        problems = await self._judged(answer, ground, ComposedBy.MODEL)
        if not problems:
            return
        self._generation.repairs = 1  # also where the model fails then, or its time is over
        await self._enter(_S.COMPOSING, "Sent back to the model")
        again = await self._answer(work, repaired(messages, answer.text, problems), ground)
        problems = await self._judged(again, ground, ComposedBy.MODEL_REPAIRED)
        if problems:
            raise _NoProposal(_F.ANSWER_INVALID, f"The model's answer could not be used: {' '.join(problems)}")

    async def _route(self, ground: Ground, messages: Sequence[Message]) -> Route:
        """The models for this conversation. Raises _NoProposal."""
        pinned = self._parts.rules.default_model
        offers = await self._asked(lambda: self._parts.models.offers(self._generation.tenant_id, pinned))
        demand = _demand(ground, messages, pinned)
        try:
            found = route(offers, demand)
        except RunFailed as failure:
            raise _NoProposal(_F.NO_MODEL, _without_thinking(offers) or failure.message) from failure
        choices = tuple(choice for choice in found.choices if choice.model.provider != SIMULATED)
        if not choices:
            raise _NoProposal(_F.NO_MODEL, _SIMULATED)
        return replace(found, choices=choices)

    def _work_for(self, found: Route) -> GenerationWork:
        journal = _ByPlace(self._claimed)
        return GenerationWork(self._claimed.ownership, found, journal)

    async def _answer(self, work: GenerationWork, messages: Sequence[Message], ground: Ground) -> ModelAnswer:
        """What the model, or the journal, answers. Raises _NoProposal; OwnershipLost where the gateway says so."""
        # Where rules may not compose, the time limit of the whole is enough.
        rules_may = self._generation.fallback is Fallback.ALLOWED
        is_paid = isinstance(work.journal, _ByPlace) and work.journal.has_next
        limit = asyncio.timeout(self._left() - self._kept_for_rules() if rules_may and not is_paid else None)
        try:
            async with limit, self._telling(work.route.first.model.name):
                answer = await self._parts.gateway.call(work, self._request(messages, ground), self.sink)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise _NoProposal(_F.TIMED_OUT, "The model did not answer in time.") from error
        except RunFailed as failure:
            if failure.code is FailureCode.MODEL_ANSWER_INVALID and self._generation.is_first_valid is None:
                self._generation.is_first_valid = False
                self._generation.model = self.sink.asked  # its figures tell of answers that nobody could read, too
            code = _CODES.get(failure.code, _F.MODEL_FAILED)
            raise _NoProposal(code, failure.message) from failure
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                raise OwnershipLost from None  # nobody stopped us: a reservation or a booking was refused
            raise
        self._generation.model = self.sink.model or self._generation.model or await self._paid_model()
        return answer

    def _kept_for_rules(self) -> float:
        return min(FALLBACK_SECONDS, FALLBACK_SHARE * self._generation.timeout_seconds)

    def _request(self, messages: Sequence[Message], ground: Ground) -> ModelRequest:
        # Half of what is left: where one model hangs, there is time for another try.
        seconds = min(self._parts.rules.call_seconds, max(self._left() / 2, 1.0))
        parameters = {"temperature": _TEMPERATURE, "max_tokens": most_answer_tokens(ground.constraints)}
        schema = composition_schema(ground.constraints, ground.tools, ground.present)
        # What is wrong with an answer we tell the model ourselves: the schema alone does not say it.
        return ModelRequest("", messages, None, parameters, seconds, output_schema=schema, is_checked=False)

    async def _paid_model(self) -> str | None:
        """Which model gave the answer that an earlier owner paid for."""
        generation = self._generation
        ids, order = [generation.id], ["booked_at", "id"]
        read = self._parts.reader.children
        found = await self._asked(
            lambda: read(LedgerEntry, generation.tenant_id, "generation_id", ids, order, _SHOWN_CALLS)
        )
        good = [entry.model for entry in found.get(generation.id, ()) if entry.outcome is CallOutcome.SUCCEEDED]
        return good[-1] if good else None

    async def _judged(self, answer: ModelAnswer, ground: Ground, by: ComposedBy) -> Sequence[str]:
        """READY with the team that the answer describes; else what is wrong with it, in words for the model."""
        await self._enter(_S.VALIDATING, "Checking the proposal")
        problems, blueprint, validation = await self._checked(answer.text, ground)
        if by is ComposedBy.MODEL:
            self._generation.is_first_valid = not problems
        if blueprint is None or validation is None or problems:
            return problems
        self._generation.composed_by = by
        await self._ready(blueprint, validation)
        return ()

    async def _checked(self, text: str, ground: Ground) -> tuple[Sequence[str], Blueprint | None, Validation | None]:
        try:
            # In a thread: an answer may be long, and others work on this loop.
            blueprint = await asyncio.to_thread(proposal_of, text, ground.constraints, ground.tools, ground.present)
        except Invalid as error:
            return sentences(error), None, None
        blueprint = preferring(blueprint, ground.constraints.quality_preference)
        validation = await self._validated(blueprint, ground)
        return [_told(finding) for finding in _faults(validation)], blueprint, validation

    # ---------------------------------------------------------------- by rules

    async def _by_rules(self, ground: Ground) -> None:
        """Raises _Failed where the constraints leave no team."""
        await self._enter(_S.COMPOSING, "Composing by rules")
        told, code = "no team keeps to all constraints.", _F.CONSTRAINTS_CONFLICT
        for composition in islice(compositions(ground), MOST_VARIANTS):
            wrong = _broken(composition, ground)
            if wrong:
                told, code = wrong, _F.CONSTRAINTS_CONFLICT
                continue
            await self._enter(_S.VALIDATING, f"Checking a team made from {composition.source}")
            validation = await self._validated(composition.blueprint, ground)
            faults = _faults(validation)
            unusable = {finding.subject for finding in faults if finding.code is FindingCode.UNUSABLE_TOOL}
            rest = [tool for tool in ground.tools if tool.name not in unusable]
            if len(rest) < len(ground.tools):
                await self._by_rules(replace(ground, tools=rest))
                return
            if not faults:
                self._generation.composed_by = ComposedBy.RULES
                self._generation.templates = composition.templates
                await self._ready(composition.blueprint, _with_notes(validation, composition.notes))
                return
            told = " ".join(finding.message for finding in faults)
            code = _F.CONSTRAINTS_CONFLICT if any(it.code in _OF_CONSTRAINTS for it in faults) else _F.ANSWER_INVALID
        raise _Failed(code, f"Even the smallest team that rules compose will not do: {told}")

    async def _validated(self, blueprint: Blueprint, ground: Ground) -> Validation:
        generation = self._generation
        return await self._asked(
            lambda: self._parts.assess.validate(
                generation.tenant_id,
                blueprint,
                team_id=generation.team_id,
                project_id=generation.project_id,
                constraints=ground.constraints,
            )
        )

    # ---------------------------------------------------------------- its row

    async def _ready(self, blueprint: Blueprint, validation: Validation) -> None:
        generation = self._generation
        generation.proposal = as_document(blueprint)
        inputs = inputs_note(blueprint)
        noted = validation if inputs is None else _with_notes(validation, [inputs])
        generation.validation = to_document(Validation, noted)
        generation.finished_at = utc_now()
        await self._enter(_S.READY, "")

    async def _fail(self, failure: _Failed) -> None:
        generation = self._generation
        generation.failure_code, generation.failure_message = failure.code, failure.message
        generation.proposal = generation.validation = generation.composed_by = None
        generation.templates = []
        generation.finished_at = utc_now()
        # A write that was broken off may have happened; if that was READY, it is over, and stays so.
        begun = [status for status in dict.fromkeys((self._stored, generation.status)) if status in WORKING]
        generation.status, generation.stage = _S.FAILED, ""
        for self._stored in begun:
            with suppress(OwnershipLost):
                await self._save()
                return
        raise OwnershipLost

    async def _enter(self, status: GenerationStatus, stage: str) -> None:
        """Write that it has come so far. Raises OwnershipLost when it is not ours any more, or was cancelled."""
        if (self._stored, self._generation.stage) == (status, stage):
            return
        if self._generation.status is not status:
            self._generation.become(status)
        self._generation.stage = stage
        await self._save()

    async def _save(self) -> None:
        generation, owner = self._generation, self._claimed.ownership
        if not await self._asked(lambda: self._parts.store.save(owner, generation, self._stored)):
            raise OwnershipLost
        self._stored = generation.status
        await self._parts.hints.publish([generation_topic(generation.id)])

    async def _asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What is answered, however long the database is away: our time limit comes first."""
        while True:
            try:
                return await ask()
            except Unavailable as error:
                _log.warning("generation_postponed", generation=str(self._generation.id), error=str(error))
                await asyncio.sleep(_STORE_PAUSE)

    @asynccontextmanager
    async def _telling(self, model: str) -> AsyncIterator[None]:
        """Meanwhile it is told how much the model has written."""
        telling = asyncio.create_task(self._tell(model))
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.wait([telling])

    async def _tell(self, model: str) -> None:
        sink, told, before = self.sink, (0, self.sink.attempts + 1), self.sink.attempts
        while True:
            await asyncio.sleep(self._parts.rules.tell_seconds)
            if (now := (sink.characters, sink.attempts)) == told or sink.attempts == before:
                continue
            told = now
            self._generation.stage = _stage(sink.asked or model, sink.characters, sink.attempts - before)
            try:
                await self._save()
            except OwnershipLost:  # who renews our claim hears of it, too
                return


def _stage(model: str, characters: int, attempt: int) -> str:
    """How far a call is; models fail, and the same one or the next is tried again."""
    if characters:
        return f"Composing with {model}: {characters:,} characters"
    return f"Trying again with {model} (attempt {attempt})" if attempt > 1 else f"Composing with {model}"


_CODES: Final = {
    FailureCode.BUDGET_EXCEEDED: _F.BUDGET_EXCEEDED,
    FailureCode.MODEL_ANSWER_INVALID: _F.ANSWER_INVALID,
}
_SIMULATED: Final = "Only the simulated model can be used, and it cannot think: give the worker a provider's key."


class _ByPlace(Journal):
    """The calls that earlier owners finished, by their place: the composition first, then its repair.

    Not by what they asked: where a tool was renamed meanwhile the prompt is another one, and the answer is still paid
    for. Whether it still holds is checked anyway.
    """

    def __init__(self, claimed: ClaimedGeneration) -> None:
        super().__init__(attempts_before=claimed.http_attempts)
        self._finished = {call.ordinal: call for call in claimed.calls}
        self._last = 0

    @property
    def has_next(self) -> bool:
        """Whether the next call is answered already: that takes no time."""
        return self._last + 1 in self._finished

    def next(self, kind: CallKind, request: Any) -> tuple[CallKey, int, JournalEntry | None]:
        key, ordinal, _ = super().next(kind, request)
        self._last = ordinal
        return key, ordinal, self._finished.get(ordinal)


def _demand(ground: Ground, messages: Sequence[Message], pinned: str | None) -> Demand:
    """What composing asks of a model: a design, at length; how good it is to be, the constraints say."""
    factors = factors_of(ground.objective, "", None)
    always = (ComplexityFactor.LONG_EXPECTED_OUTPUT, ComplexityFactor.KEYWORD)
    return Demand(
        ground.constraints.quality_preference,
        tuple(dict.fromkeys((*factors, *always))),
        pinned,
        "the deployment names it",
        prompt_tokens=estimated_request_tokens(messages),
        output_tokens=most_answer_tokens(ground.constraints),
    )


def _without_thinking(offers: Sequence[Offer]) -> str | None:
    """What to say where only the simulated model can be used."""
    usable = [offer.model.provider for offer in offers if offer.can_be_waited_for]
    return _SIMULATED if usable and set(usable) == {SIMULATED} else None


def _with_notes(validation: Validation, notes: Sequence[Finding]) -> Validation:
    """The validation with what whoever composed has to say, among findings that matter as much."""
    order = list(Severity)
    return replace(
        validation,
        findings=sorted([*validation.findings, *notes], key=lambda finding: order.index(finding.severity)),
    )


def _faults(validation: Validation) -> list[Finding]:
    """The errors that another proposal could do without."""
    return [finding for finding in validation.errors if finding.code not in _BEFOREHAND]


def _told(finding: Finding) -> str:
    about = f"{finding.subject}: " if finding.subject else ""
    return f"{about}{finding.message} {finding.suggestion or ''}".strip()


def _broken(composition: Composition, ground: Ground) -> str | None:
    """What rules did not manage; a template or a team may have more in it than fits."""
    problems = problems_with(composition.blueprint, ground.constraints, ground.tools)
    try:
        composition.blueprint.check()
    except Invalid as error:
        problems += error.problems
    return " ".join(problem.message for problem in problems) or None
