"""GraphiQL on the real server: a newcomer's three tabs, with a worker at work."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.extra.test_graphiql import open_page, press_play
from tests.support.browser import visiting
from tests.support.processes import served

pytestmark = pytest.mark.extra

PATIENCE_MS = 60_000

COMPLAINTS = ":is(.graphiql-query-editor, .graphiql-editor-tool) :is(.squiggly-error, .squiggly-warning)"


async def test_a_newcomer_sees_data_kicks_off_and_watches(tmp_path: Path) -> None:
    with served(tmp_path / "data") as server:
        await asyncio.to_thread(server.wait_for_worker)
        async with visiting() as visit:
            page = visit.page
            response = page.locator(".graphiql-response .view-lines")

            await open_page(page, server.address)
            await press_play(page)
            await expect(response).to_contain_text('"name": "Harbour"', timeout=PATIENCE_MS)

            await page.get_by_role("tab", name="Kickoff").click()
            await press_play(page)
            await expect(response).to_contain_text('"status": "QUEUED"', timeout=PATIENCE_MS)
            await expect(page.locator(".graphiql-editor-tool .view-lines").first).to_contain_text('"inputs"')
            await page.wait_for_timeout(2_000)  # the editor's worker looks at the variables a moment after each change
            await expect(page.locator(COMPLAINTS)).to_have_count(0)

            await open_page(page, server.address)  # a reload fills the newest execution in
            await page.get_by_role("tab", name="Watch").click()
            await press_play(page)
            await expect(response).to_contain_text("simulated", timeout=PATIENCE_MS)

            assert visit.problems == []
            assert {urlsplit(address).hostname for address in visit.addresses} == {"127.0.0.1"}
