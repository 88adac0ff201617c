"""The graph as a client sees it: operations over HTTP (in process), and the statements that they cost."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from starlette.applications import Starlette

from app.container import Container

MUTATION_ERRORS = """
    errors { __typename message code path suggestion
        ... on StaleVersion { expected actual } ... on Cycle { cycle }
        ... on InvalidTransition { from to allowed } ... on MissingInputs { names } }
"""


@dataclass
class Graph:
    """A client of one API. `container` is the server's inside, for what a client cannot do."""

    http: httpx.AsyncClient
    container: Container
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    @classmethod
    @contextlib.asynccontextmanager
    async def over(cls, app: Starlette) -> AsyncIterator[Self]:
        """The app, started; stopped at the end."""
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                yield cls(http, app.state.container)

    async def answer(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The whole answer, errors included."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        answer: dict[str, Any] = response.json()
        return answer

    async def query(self, query: str, /, **variables: Any) -> dict[str, Any]:
        """The data of an operation that has to succeed."""
        answer = await self.answer(query, **variables)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def mutate(self, name: str, selection: str, /, **values: Any) -> dict[str, Any]:
        """The payload of a mutation with one `input`: what `selection` asks for, and the errors."""
        kind = f"{name[0].upper()}{name[1:]}Input"
        for action in ("Duplicate", "Archive", "Restore"):
            kind = f"{action}Input" if kind.startswith(action) else kind
        query = f"mutation($input: {kind}!) {{ {name}(input: $input) {{ {selection} {MUTATION_ERRORS} }} }}"
        payload: dict[str, Any] = (await self.query(query, input=values))[name]
        return payload

    async def make(self, kind: str, selection: str = "id version", /, **values: Any) -> dict[str, Any]:
        """A new thing that has to be accepted, as `selection` shows it."""
        payload = await self.mutate(f"create{kind}", f"{kind.lower()} {{ {selection} }}", **values)
        assert payload["errors"] == [], payload["errors"]
        thing: dict[str, Any] = payload[kind.lower()]
        return thing

    async def project(self) -> str:
        """The id of a new project."""
        return str((await self.make("Project", name=f"Project {next(self._names)}"))["id"])

    async def team(self, project_id: str | None = None, **values: Any) -> str:
        """The id of a new team, in a new project if none is given."""
        name = f"Team {next(self._names)}"
        project_id = project_id or await self.project()
        return str((await self.make("Team", **{"projectId": project_id, "name": name, **values}))["id"])

    async def role(self, team_id: str, **values: Any) -> str:
        """The id of a new role of the team."""
        return str((await self.make("Role", **{"teamId": team_id, "title": "Analyst", **values}))["id"])

    async def task(self, team_id: str, **values: Any) -> str:
        """The id of a new task of the team."""
        given = {"name": f"Task {next(self._names)}", "description": "Do it.", "expectedOutput": "Done.", **values}
        return str((await self.make("Task", teamId=team_id, **given))["id"])

    async def ready_team(self) -> str:
        """The id of a team that can be kicked off: one role, one task without placeholders."""
        team_id = await self.team()
        await self.task(team_id, roleId=await self.role(team_id))
        return team_id

    async def kickoff(self, team_id: str, **values: Any) -> str:
        """The id of a new execution."""
        payload = await self.mutate("kickoffTeam", "execution { id }", teamId=team_id, **values)
        assert payload["errors"] == [], payload["errors"]
        return str(payload["execution"]["id"])


@contextlib.contextmanager
def counted_statements(graph: Graph) -> Iterator[list[str]]:
    """The statements that the read pool runs inside the block."""
    seen: list[str] = []
    pool = graph.container.reader.pool
    plain = pool.fetch

    async def fetch(statement: str, *arguments: Any, **options: Any) -> Any:
        seen.append(statement)
        return await plain(statement, *arguments, **options)

    graph.container.reader.pool = _Counting(pool, fetch)  # type: ignore[assignment]  # stands in for the pool
    try:
        yield seen
    finally:
        graph.container.reader.pool = pool


class _Counting:
    """A pool that hands every fetch on."""

    def __init__(self, pool: Any, fetch: Any) -> None:
        self.pool = pool
        self.fetch = fetch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pool, name)
