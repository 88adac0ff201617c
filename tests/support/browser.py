"""A headless Chromium, Debian's own, driven by Playwright, and a record of what a page did in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import ConsoleMessage, Page, Request, WebSocket, async_playwright, expect

# The background services of Chromium look up its maker's hosts; nothing but the page under test may use the network.
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]

expect.set_options(timeout=60_000)  # five seconds, the default, are few where much else is going on


@dataclass(slots=True)
class Visit:
    """A page, every address it asked for (websockets included), and everything that went wrong in it."""

    page: Page
    addresses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@asynccontextmanager
async def visiting(*, width: int = 1400, height: int = 900) -> AsyncIterator[Visit]:
    """A fresh browser with an empty profile and one blank page.

    Raises:
        RuntimeError: there is no Chromium; this is never skipped in silence.
    """
    with tempfile.TemporaryDirectory(prefix="regatta-chromium-") as profile:
        async with async_playwright() as playwright:
            context = await playwright.chromium.launch_persistent_context(
                profile,
                executable_path=_chromium(),
                args=QUIET,
                chromium_sandbox=os.geteuid() != 0,  # the sandbox refuses to start as root
                viewport={"width": width, "height": height},
                service_workers="block",
            )
            try:
                yield _recorded(context.pages[0])
            finally:
                await context.close()


def _chromium() -> str:
    path = shutil.which("chromium")
    if path is None:
        raise RuntimeError("This test needs Chromium: install Debian's package `chromium`")
    return path


def _recorded(page: Page) -> Visit:
    visit = Visit(page)

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            visit.problems.append(f"console {message.type}: {message.text}")

    def on_request(request: Request) -> None:
        visit.addresses.append(request.url)

    def on_socket(socket: WebSocket) -> None:
        visit.addresses.append(socket.url)

    def on_failure(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # that one was cut off by a reload
            visit.problems.append(f"failed: {request.url} {request.failure}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: visit.problems.append(f"uncaught: {error}"))
    page.on("request", on_request)
    page.on("requestfailed", on_failure)
    page.on("websocket", on_socket)
    return visit
