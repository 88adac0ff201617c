"""The one place where ports meet their adapters: what an API process is made of."""

from dataclasses import dataclass
from typing import Self

from app.assessing import assessment_rules
from app.broadcast import BroadcastHints
from app.process import OwnProcess
from app.settings import Settings
from app.tracing import Tracer, start_tracing
from app.vault import FernetVault
from domain.model.addresses import PrivateHosts
from domain.model.identity import DEFAULT_TENANT
from domain.ports import Hints
from domain.ports.process import ProcessStatus
from domain.ports.tracing import Tracing
from domain.services.alert_feed import AlertFeed
from domain.services.approvals import DecideApproval
from domain.services.assessment import AssessTeam, ExplainMatches
from domain.services.cancelling import CancelExecution, CancelExecutions
from domain.services.catalogue import Catalogue
from domain.services.continuing import ForkExecution, RetryExecution
from domain.services.control import PauseExecution, ResumeExecution, UpdateTaskExecution
from domain.services.copies import Duplicate
from domain.services.credentials import Secrets
from domain.services.crews import ExportCrew, ImportCrew
from domain.services.editing import ALERT_RULES, PROJECTS, ROLES, SCHEDULES, TASKS, TEAMS, TOOLS, Editing, models_at
from domain.services.executions import KickoffTeam
from domain.services.feed import ExecutionFeeds
from domain.services.generation_decisions import GenerationDecisions
from domain.services.generation_feed import GenerationFeed
from domain.services.generations import Generations
from domain.services.instantiating import Instantiate
from domain.services.optimizations import Optimizations
from domain.services.recommendations import Recommendations
from domain.services.routing_preview import PreviewRouting
from domain.services.schedules import Schedules
from domain.services.snapshots import Snapshots
from domain.services.templates import Templates
from domain.services.tenants import UpdateTenant
from domain.services.webhooks import Webhooks
from persistence.audit_reader import SqlAuditTrail
from persistence.deployment_reader import SqlDeployment
from persistence.engine import Database
from persistence.export_reader import SqlExports
from persistence.history_reader import SqlHistories
from persistence.metrics_reader import SqlMetrics
from persistence.reader import SqlReader
from persistence.recommendation_reader import SqlRecommendationQuestions
from persistence.unit_of_work import SqlUnitsOfWork
from persistence.workers import SqlWorkers
from resolvers.context import Context, Services


@dataclass(slots=True)
class Container:
    """The adapters and use cases of an API process; `open` connects them, `close` lets go."""

    settings: Settings
    database: Database
    hints: BroadcastHints
    reader: SqlReader
    workers: SqlWorkers
    services: Services
    tracer: Tracer
    deployment: SqlDeployment

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Raises OSError or asyncpg.PostgresError when the database does not answer."""
        if settings.database_url is None:
            raise ValueError("an API process needs the URL of a running database")
        database = await Database.connect(settings.database_url, name="api", pool_size=settings.pool_size)
        tracer = start_tracing(settings, "api")
        hints = BroadcastHints(settings.hints_url)
        await hints.start()
        reader = SqlReader(database.pool)
        process = OwnProcess(database, hints)
        services = _services(
            SqlUnitsOfWork(database.engine), reader, hints, FernetVault.of(settings), settings, process, tracer.tracing
        )
        workers, deployment = SqlWorkers(database.pool), SqlDeployment(settings.database_url)
        return cls(settings, database, hints, reader, workers, services, tracer, deployment)

    async def close(self) -> None:
        try:
            await self.hints.stop()
            await self.deployment.close()
            await self.database.close()
        finally:
            await self.tracer.close()

    def context(self, *, remembers: bool, trace_parent: str | None = None) -> Context:
        """Who is asking: until there are principals, everybody is the default tenant."""
        tracing = self.tracer.tracing
        return Context(DEFAULT_TENANT, None, self.services, self.reader, remembers, tracing, trace_parent)


def _services(
    units: SqlUnitsOfWork,
    reader: SqlReader,
    hints: Hints,
    vault: FernetVault,
    settings: Settings,
    process: ProcessStatus,
    tracing: Tracing,
) -> Services:
    catalogue = Catalogue(reader.model_records, reader.operator_models, settings.price_rule, vault, looks=True)
    snapshots = Snapshots(reader, hints)
    histories, metrics = SqlHistories(reader.pool), SqlMetrics(reader.pool)
    return Services(
        update_tenant=UpdateTenant(units),
        projects=Editing(units, PROJECTS),
        teams=Editing(units, TEAMS),
        roles=Editing(units, ROLES),
        tasks=Editing(units, TASKS),
        tools=Editing(units, TOOLS),
        models=Editing(units, models_at(PrivateHosts(settings.allowed_private_hosts).may_reach)),
        catalogue=catalogue,
        histories=histories,
        metrics=metrics,
        exports=SqlExports(reader.pool, settings.export_seconds),
        audit_trail=SqlAuditTrail(reader.pool, settings.export_seconds),
        assess=AssessTeam(reader, catalogue, histories, assessment_rules(settings)),
        explain=ExplainMatches(reader, histories),
        preview_routing=PreviewRouting(reader, catalogue, settings.model, settings.max_output_tokens),
        duplicate=Duplicate(units),
        import_crew=ImportCrew(units, reader),
        export_crew=ExportCrew(units),
        kickoff=KickoffTeam(units, hints, tracing),
        cancel=CancelExecution(units, hints),
        cancel_many=CancelExecutions(units, reader, hints),
        pause=PauseExecution(units, hints),
        resume=ResumeExecution(units, hints),
        retry=RetryExecution(units, hints, tracing),
        fork=ForkExecution(units, hints, tracing),
        update_task_execution=UpdateTaskExecution(units, reader, hints),
        decide=DecideApproval(units, hints),
        secrets=Secrets(units, vault),
        webhooks=Webhooks(units, vault, PrivateHosts(settings.allowed_private_hosts)),
        feeds=ExecutionFeeds(reader, hints),
        snapshots=snapshots,
        schedules=Editing(units, SCHEDULES),
        scheduling=Schedules(units, hints, tracing),
        alert_rules=Editing(units, ALERT_RULES),
        alert_feed=AlertFeed(reader, snapshots),
        templates=Templates(units),
        instantiate=Instantiate(units),
        generations=Generations(units, catalogue, hints, settings.model, tracing=tracing),
        generation_decisions=GenerationDecisions(units, hints),
        generation_feed=GenerationFeed(reader, snapshots),
        optimizations=Optimizations(units, histories, catalogue, settings.model),
        recommendations=Recommendations(
            reader, SqlRecommendationQuestions(reader.pool), metrics, catalogue, settings.model
        ),
        process=process,
    )
