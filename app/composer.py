"""The part of a worker that generates teams: its duty, and a gateway of its own, made when a model is first asked."""

from collections.abc import Awaitable, Callable

from app.assessing import assessment_rules
from app.settings import Settings
from domain.crew import environment
from domain.ports import CallBudgets, CallWork, Hints, ModelAnswer, ModelCatalogue, ModelRequest, RunSink
from domain.ports.measuring import UNMEASURED, Measuring
from domain.ports.tracing import NO_TRACING, Tracing
from domain.services.assessment import AssessTeam
from domain.services.generating import GenerateTeams
from domain.services.generation_run import GenerationParts, GenerationRules
from domain.services.model_gateway import GatewayRules, RoutedGateway
from persistence.call_budgets import SqlCallBudgets
from persistence.engine import Database
from persistence.generation_store import SqlGenerationStore
from persistence.history_reader import SqlHistories
from persistence.reader import SqlReader


class LateGateway:
    """The ModelGateway port over LiteLLM, which takes seconds to import: who never composes never imports it."""

    def __init__(self, settings: Settings, budgets: CallBudgets, tracing: Tracing = NO_TRACING) -> None:
        self._settings = settings
        self._budgets = budgets
        self._tracing = tracing
        self._gateway: RoutedGateway | None = None
        self._close: Callable[[], Awaitable[None]] | None = None

    async def call(self, work: CallWork, request: ModelRequest, sink: RunSink) -> ModelAnswer:
        if self._gateway is None:
            self._gateway = self._made()
        return await self._gateway.call(work, request, sink)

    def _made(self) -> RoutedGateway:
        settings = self._settings
        environment.prepare(settings.data_dir / "crewai")
        from domain.crew.models import LiteLLMClient  # noqa: PLC0415 - `environment.prepare` comes before the import
        from domain.crew.tools.addresses import AddressGuard  # noqa: PLC0415 - same

        client = LiteLLMClient(AddressGuard(settings.allowed_private_hosts))
        self._close = client.close
        rules = GatewayRules(max_output_tokens=settings.max_output_tokens)
        return RoutedGateway(client, self._budgets, rules, self._tracing)

    async def close(self) -> None:
        """Close all connections, on the loop on which the calls were made."""
        if self._close is not None:
            await self._close()


class Composer:
    """What a worker has for generations; `tend` is called again and again, and at once when there is a hint."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        hints: Hints,
        models: ModelCatalogue,
        worker_id: str,
        measuring: Measuring = UNMEASURED,
        tracing: Tracing = NO_TRACING,
    ) -> None:
        pool, budgets = database.pool, SqlCallBudgets(database.pool, database.waiting)
        self._gateway = LateGateway(settings, budgets, tracing)
        reader, histories = SqlReader(pool), SqlHistories(pool)
        parts = GenerationParts(
            SqlGenerationStore(pool),
            self._gateway,
            models,
            reader,
            histories,
            AssessTeam(reader, models, histories, assessment_rules(settings)),
            hints,
            GenerationRules(default_model=settings.model, call_seconds=settings.model_timeout_seconds),
            measuring,
            tracing,
        )
        self._duty = GenerateTeams(parts, worker_id, settings.generation_concurrency)

    async def tend(self) -> None:
        """See `GenerateTeams.tend`."""
        await self._duty.tend()

    async def stop(self, grace_seconds: float) -> None:
        """See `GenerateTeams.stop`."""
        await self._duty.stop(grace_seconds)

    async def close(self) -> None:
        """After `stop`."""
        await self._gateway.close()
