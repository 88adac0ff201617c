"""Serves GraphiQL from our own files: the page, its assets and the operations its tabs start with.

The GraphQL endpoint is not here. What is served is built by `scripts/build_graphiql.sh`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES: Final = Path(__file__).parent / "static" / "graphiql"
EMPTY_TABS: Final = '<script type="application/json" id="tabs">[]</script>'

# Nothing but this server may be asked for anything ('self' covers the websocket). Monaco writes its colours and
# positions into style elements, hence 'unsafe-inline' for styles alone; its icons are data: images.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; font-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
GUARDS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Tab:
    """An operation that the page opens with; GraphiQL names the tab after the operation."""

    query: str
    variables: Mapping[str, object] = field(default_factory=dict)


TabSource = Callable[[], Awaitable[Sequence[Tab]]]


def shipped_tab(name: str, variables: Mapping[str, object] | None = None) -> Tab:
    """The operation in `static/graphiql/operations/{name}.graphql`, with these variables.

    Raises:
        FileNotFoundError: no operation of that name is shipped.
    """
    return Tab((FILES / "operations" / f"{name}.graphql").read_text("utf-8"), variables or {})


def graphiql_routes(tabs: TabSource, *, path: str = "/graphql") -> list[BaseRoute]:
    """The page at `path`, for browsers alone, where `/` leads them, and its assets; put these before the endpoint.

    Args:
        tabs: asked at each load of the page. What it raises is the page's error.
        path: where the GraphQL endpoint is; a GET that does not accept HTML is left to it.

    Raises:
        ValueError: the built page has no place for tabs.
    """
    page = (FILES / "index.html").read_text("utf-8")
    if page.count(EMPTY_TABS) != 1:
        raise ValueError(f"{FILES / 'index.html'} has no place for tabs; rebuild it")

    async def show(_: Request) -> Response:
        filled = page.replace(EMPTY_TABS, EMPTY_TABS.replace("[]", _as_script_data(await tabs())))
        return HTMLResponse(filled, headers={**GUARDS, "Cache-Control": "no-store", "Vary": "Accept"})

    async def lead(_: Request) -> Response:
        return RedirectResponse(path, headers={"Vary": "Accept"})

    assets = _HashedFiles(directory=FILES / "assets")
    return [
        _PageRoute(path, show, methods=["GET"]),
        _PageRoute("/", lead, methods=["GET"]),
        Mount("/static/graphiql/assets", assets, name="graphiql"),
    ]


def _as_script_data(tabs: Sequence[Tab]) -> str:
    """JSON that cannot end the script element it stands in, whatever the tabs say."""
    offered = [{"query": tab.query, "variables": _as_text(tab.variables)} for tab in tabs]
    return json.dumps(offered).replace("<", "\\u003c")


def _as_text(variables: Mapping[str, object]) -> str:
    return json.dumps(variables, indent=2, ensure_ascii=False) if variables else ""


class _PageRoute(Route):
    """Matches only who asks for HTML: others fall through to the endpoint on the same path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is Match.FULL and "text/html" in Request(scope).headers.get("accept", ""):
            return match, child
        return Match.NONE, {}


class _HashedFiles(StaticFiles):
    """Files whose names change with their content, so that browsers may keep them for ever.

    The policy goes along, for a worker is bound by that of its own script and not by the page's.
    """

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(GUARDS)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
