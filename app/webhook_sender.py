"""Sends the deliveries of webhooks over HTTP, to addresses that tenants name: each is checked, then connected to.

What is sent, and when again, is `domain.services.deliveries`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

import httpx

from domain.model.addresses import HostRefused, PrivateHosts
from domain.ports import Answered, WebhookClient

T = TypeVar("T")

SECONDS: Final = 10.0
"""So long a request may take in all, with the resolution of the name."""

KEPT_BYTES: Final = 4_096
_BODY_SECONDS: Final = 2.0
_RESOLVERS: Final = 8


class HttpWebhookClient:
    """See `domain.ports.WebhookClient`; close it at the end.

    Each request has a connection of its own, to the address that was checked, under the name that was given. Names are
    resolved in threads of its own: one that takes long keeps nobody else's threads.
    """

    def __init__(self, private: PrivateHosts, seconds: float = SECONDS) -> None:
        self.private = private
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="webhook-names")
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        begun = time.monotonic()
        status, text, error = None, None, None
        try:
            async with asyncio.timeout(self.seconds):
                status, text = await self._exchange(httpx.URL(url), headers, body)
        except TimeoutError:
            error = f"No answer within {self.seconds:g} seconds."
        except (HostRefused, OSError, UnicodeError, httpx.HTTPError, httpx.InvalidURL) as failed:
            error = _told(failed)
        return Answered(time.monotonic() - begun, status, text, error)

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if url.scheme != "https" and not self.private.may_reach_plainly(str(url)):
            raise httpx.UnsupportedProtocol("the operator allowed the host when this was stored, and does not now")
        request = await self._pinned(url, headers, body)
        # Not through a client: that would gather cookies of everybody, and knows redirects.
        response = await (await self._opened()).handle_async_request(request)
        try:
            return response.status_code, await _beginning(response)
        finally:
            await response.aclose()

    async def _pinned(self, url: httpx.URL, headers: Mapping[str, str], body: bytes) -> httpx.Request:
        """The request to the checked address; the name stays in the Host header and in TLS."""
        name = url.raw_host.decode("ascii").lower().rstrip(".")
        port = url.port or (443 if url.scheme == "https" else 80)
        address = await self._in_thread(lambda: str(self.private.checked_address(name, port)))
        # Not compressed: what little is kept of the answer has to be readable.
        own = {**headers, "Host": url.netloc.decode(), "Accept-Encoding": "identity", "Connection": "close"}
        to = url.copy_with(host=address)
        return httpx.Request("POST", to, headers=own, content=body, extensions={"sni_hostname": name})

    async def _opened(self) -> httpx.AsyncHTTPTransport:
        if self._transport is None:
            context = await self._in_thread(lambda: httpx.create_ssl_context(trust_env=False))  # takes long to make
            limits = httpx.Limits(max_keepalive_connections=0)
            made = httpx.AsyncHTTPTransport(verify=context, trust_env=False, limits=limits)
            return self._first(made)
        return self._transport

    def _first(self, made: httpx.AsyncHTTPTransport) -> httpx.AsyncHTTPTransport:
        """The one that was made first: another request may have been quicker. The others have no connections."""
        self._transport = self._transport or made
        return self._transport

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _beginning(response: httpx.Response) -> str:
    """The first bytes of the answer as text; what does not come soon is not waited for: the status is what counts."""
    kept = b""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in response.aiter_raw(KEPT_BYTES):
                kept += chunk
                if len(kept) >= KEPT_BYTES:
                    break
    return kept[:KEPT_BYTES].decode("utf-8", errors="replace").replace("\x00", "\ufffd")


def _told(failed: Exception) -> str:
    """What went wrong, without what a library says of it: that may quote what was sent."""
    if isinstance(failed, HostRefused):
        return f"Not sent: {failed}"
    if isinstance(failed, OSError | UnicodeError):
        return "The host cannot be found."
    if isinstance(failed, httpx.UnsupportedProtocol):
        return "Not sent: only https is sent over the public internet."
    if isinstance(failed, httpx.ConnectError):
        return "No connection could be made: it was refused, or the host has no valid certificate."
    return f"The request failed ({type(failed).__name__})."


def _conforms(client: HttpWebhookClient) -> WebhookClient:
    return client
