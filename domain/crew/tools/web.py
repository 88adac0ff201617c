"""Opens a page on the public internet, and asks a search engine."""

from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import httpx
from pydantic import BaseModel, Field

from domain.crew.tools.addresses import AddressGuard, GuardedTransport
from domain.crew.tools.settings import SearchKind, ToolSettings
from domain.crew.tools.watched import ToolFault

GET_DESCRIPTION: Final = (
    "Opens a web address with HTTP GET and returns the status, the content type and the text of the answer. "
    "Only public http and https addresses."
)
SEARCH_DESCRIPTION: Final = "Searches the web and returns titles, addresses and short extracts of the best results."
SERPER_ENDPOINT: Final = "https://google.serper.dev/search"
MAX_REDIRECTS: Final = 5
MAX_RESULTS: Final = 20
AGENT: Final = "Regatta/1 (+tool http_get)"


class GetArguments(BaseModel):
    url: str = Field(description="The full address, beginning with http:// or https://", max_length=2_000)


class SearchArguments(BaseModel):
    query: str = Field(description="What to search for", min_length=1, max_length=400)
    count: int = Field(default=8, description="How many results, at most 20", ge=1, le=MAX_RESULTS)


@dataclass(frozen=True, slots=True)
class HttpGet:
    """The tool HTTP_GET."""

    settings: ToolSettings

    def __call__(self, url: str) -> str:
        """Status line, content type, empty line, text. Raises ToolFault: not allowed, unreachable, too large."""
        guard = AddressGuard(self.settings.allowed_private_hosts)
        with httpx.Client(
            transport=GuardedTransport(guard),
            timeout=self.settings.timeout_seconds,
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            trust_env=False,
            # Unpacked sizes are not known before unpacking: a small bomb would pass any limit.
            headers={"user-agent": AGENT, "accept-encoding": "identity"},
        ) as client:
            return _read(client, _parsed(url), self.settings)


def _parsed(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise ToolFault("this is no web address.") from error
    if parsed.userinfo:
        raise ToolFault("an address with a user name or password is not opened.")
    return parsed


def _read(client: httpx.Client, url: httpx.URL, settings: ToolSettings) -> str:
    try:
        with client.stream("GET", url) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ToolFault("the answer is compressed, which was not asked for.")
            body = _limited(response, settings)
    except httpx.TooManyRedirects as error:
        raise ToolFault(f"more than {MAX_REDIRECTS} redirects.") from error
    except httpx.TimeoutException as error:
        raise ToolFault(f"no answer within {settings.timeout_seconds:g} seconds.") from error
    except httpx.HTTPError as error:
        raise ToolFault("the address cannot be reached.") from error
    kind = response.headers.get("content-type", "unknown type")
    text = body.decode(response.encoding or "utf-8", errors="replace")
    return f"HTTP {response.status_code}\n{kind}\n\n{text}"


def _limited(response: httpx.Response, settings: ToolSettings) -> bytes:
    body, until = bytearray(), monotonic() + settings.timeout_seconds
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > settings.max_bytes:
            raise ToolFault(f"the answer is larger than {settings.max_bytes} bytes.")
        if monotonic() > until:  # each read has its time limit; many slow ones have this
            raise ToolFault(f"no complete answer within {settings.timeout_seconds:g} seconds.")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class WebSearch:
    """The tool WEB_SEARCH, on the endpoint that the operator configured (which may be a private one)."""

    settings: ToolSettings

    def __call__(self, query: str, count: int) -> str:
        """One block per result: title, address, extract. Raises ToolFault."""
        try:
            with httpx.Client(timeout=self.settings.timeout_seconds, trust_env=False) as client:
                response = client.send(self._request(client, query, count))
                response.raise_for_status()
                results = self._results(response.json())
        except httpx.HTTPStatusError as error:
            raise ToolFault(f"the search engine answered HTTP {error.response.status_code}.") from error
        except (httpx.HTTPError, ValueError) as error:
            raise ToolFault("the search engine cannot be reached or gave no usable answer.") from error
        return "\n\n".join(results[:count]) or "No results."

    def _request(self, client: httpx.Client, query: str, count: int) -> httpx.Request:
        endpoint, key = self.settings.search_endpoint or SERPER_ENDPOINT, self.settings.search_key
        if self.settings.search_kind is SearchKind.SERPER:
            headers = {"x-api-key": key} if key else {}
            return client.build_request("POST", endpoint, json={"q": query, "num": count}, headers=headers)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return client.build_request("GET", endpoint, params={"q": query, "format": "json"}, headers=headers)

    def _results(self, answer: Any) -> list[str]:
        serper = self.settings.search_kind is SearchKind.SERPER
        found = answer.get("organic" if serper else "results") if isinstance(answer, dict) else None
        if not isinstance(found, list):
            raise ToolFault("the search engine gave no usable answer.")
        address, extract = ("link", "snippet") if serper else ("url", "content")
        return [
            "\n".join(str(item.get(name) or "") for name in ("title", address, extract))
            for item in found
            if isinstance(item, dict)
        ]
