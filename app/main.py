"""The API process: `create_app` puts schema, container and routes together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app.container import Container
from app.correlation import HEADER, Correlation
from app.doorkeeper import Doorkeeper
from app.exports import export_routes
from app.faults import Faults
from app.graphiql import Tab, graphiql_routes, shipped_tab
from app.graphql import graphql_routes
from app.health import health_routes
from app.http_spans import TRACEPARENT, HttpSpans
from app.prometheus.api import ApiMetrics, Measured, measured
from app.seed import INPUTS
from app.settings import Settings
from app.tracing import is_traced
from domain.model.execution import Execution
from domain.model.identity import DEFAULT_TENANT
from domain.model.library import shipped_templates
from domain.model.page import PageRequest
from domain.model.planning import wanted_inputs
from domain.model.project import Project
from domain.model.role import Role
from domain.model.task import Task
from domain.model.team import Team
from domain.model.template import TemplateKind
from domain.ports import Reader
from resolvers.context import Context
from resolvers.node_ids import node_id
from schema.schema import build


def create_app(settings: Settings) -> Starlette:
    """An ASGI application on this database; it connects when it is started, and not before."""
    opened: list[Container] = []

    def container() -> Container:
        return opened[0]

    metrics = ApiMetrics(lambda: opened[0] if opened else None) if settings.metrics else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        opened.append(await Container.open(settings))
        app.state.container = container()
        try:
            async with metrics.loop_lag.watched() if metrics else nullcontext():
                yield
        finally:
            await opened.pop().close()

    def make_context(*, remembers: bool, trace_parent: str | None = None) -> Context:
        return container().context(remembers=remembers, trace_parent=trace_parent)

    routes = [
        *health_routes(container),
        *export_routes(make_context, settings),
        *graphiql_routes(_tabs(container)),
        *graphql_routes(
            measured(build(), metrics.operations) if metrics else build(),
            make_context,
            max_body_bytes=settings.max_request_bytes,
            max_subscriptions=settings.max_subscriptions,
            allowed_origins=settings.allowed_origins,
        ),
    ]
    routes += [metrics.route()] if metrics else []
    outermost = [Middleware(Measured, requests=metrics.requests)] if metrics else []
    return Starlette(routes=routes, middleware=[*outermost, *_middleware(settings, container)], lifespan=lifespan)


def _middleware(settings: Settings, container: Callable[[], Container]) -> list[Middleware]:
    origins = list(settings.allowed_origins)
    spans = [Middleware(HttpSpans, tracing=lambda: container().tracer.tracing)] if is_traced(settings) else []
    door = Middleware(Doorkeeper, hosts=settings.trusted_hosts, origins=origins)
    outer, innermost = [Middleware(Correlation), *spans, door], Middleware(Faults)
    if not origins:
        return [*outer, innermost]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["POST", "GET"],
        allow_headers=["content-type", "accept", HEADER, TRACEPARENT, "tracestate"],
        expose_headers=[HEADER, "Content-Disposition", "Retry-After"],
    )
    return [*outer, cors, innermost]


def _tabs(container: Callable[[], Container]) -> Callable[[], Awaitable[Sequence[Tab]]]:
    """GraphiQL's tabs, with the ids of a team and an execution that are really there."""

    async def tabs() -> Sequence[Tab]:
        reader = container().reader
        newest = PageRequest(first=1)
        teams = (await reader.pages(Team, DEFAULT_TENANT, "tenant_id", [DEFAULT_TENANT], newest))[DEFAULT_TENANT]
        runs = (await reader.pages(Execution, DEFAULT_TENANT, "tenant_id", [DEFAULT_TENANT], newest))[DEFAULT_TENANT]
        team_id = node_id("Team", teams.items[0].id) if teams.items else ""
        inputs = await _inputs_of(reader, teams.items[0]) if teams.items else dict(INPUTS)
        execution_id = node_id("Execution", runs.items[0].id) if runs.items else ""
        places = (await reader.pages(Project, DEFAULT_TENANT, "tenant_id", [DEFAULT_TENANT], newest))[DEFAULT_TENANT]
        project_id = node_id("Project", places.items[0].id) if places.items else ""
        return [
            shipped_tab("dashboard"),
            shipped_tab("kickoff", {"input": {"teamId": team_id, "inputs": inputs}}),
            shipped_tab("watch", {"executionId": execution_id}),
            shipped_tab("templates", {"input": _instantiation(project_id)}),
            shipped_tab("generations", _generation(project_id)),
            shipped_tab("assessment", {"teamId": team_id, "inputs": inputs}),
            shipped_tab("metrics", {"scope": {}, "period": {"granularity": "DAY"}}),
            shipped_tab("optimizations", {"input": {"teamId": team_id, "goal": "COST"}, "teamId": team_id, "id": ""}),
        ]

    return tabs


def _instantiation(project_id: str) -> dict[str, object]:
    """A team of the first built-in template, with a value for each parameter that needs one."""
    shipped = next(each for each in shipped_templates() if each.template.kind is TemplateKind.TEAM)
    needed = [parameter for parameter in shipped.content.parameters if parameter.is_required]
    return {
        "templateId": node_id("Template", shipped.template.id),
        "projectId": project_id,
        "parameters": {parameter.name: parameter.description for parameter in needed},
    }


def _generation(project_id: str) -> dict[str, object]:
    asked = {"projectId": project_id, "objective": "Tell the press about our new bicycle."}
    return {"input": asked, "generationId": "", "accepted": {"generationId": ""}}


async def _inputs_of(reader: Reader, team: Team) -> dict[str, str]:
    """What a kickoff of the team has to be given: the demo's values where the names match, else to be filled in."""
    tasks = await reader.children(Task, DEFAULT_TENANT, "team_id", [team.id], ["position"])
    roles = await reader.children(Role, DEFAULT_TENANT, "team_id", [team.id], ["position"])
    active = [role for role in roles.get(team.id, ()) if role.is_active]
    return {name: INPUTS.get(name, "…") for name in wanted_inputs(tasks.get(team.id, ()), active)}
