"""Addresses of the network: which belong to the public internet, and which private ones the operator allows."""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_ALSO_PRIVATE: Final = tuple(
    map(
        ipaddress.ip_network,
        # Metadata services of clouds, on addresses that no registry marks as private; documentation; local NAT64.
        ("168.63.129.16/32", "192.0.0.192/32", "100.100.100.200/32", "fd00:ec2::/32", "3fff::/20", "64:ff9b:1::/48"),
    )
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_public(address: Address) -> bool:
    """Whether the address belongs to the public internet, also where it carries an IPv4 address inside."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = _carried(address)
        if inside is not None:
            return is_public(inside)
        if address.is_site_local:
            return False
    if any(address in network for network in _ALSO_PRIVATE):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class HostRefused(Exception):
    """The host leads to a private network, and is none of those that the operator allows. Fit for a user."""

    def __init__(self, host: str) -> None:
        allows = "the operator can allow it with REGATTA_ALLOWED_PRIVATE_HOSTS"
        super().__init__(f"the host {host[:100]} is not on the public internet; {allows}.")


def resolved(host: str, port: int) -> Sequence[Address]:
    """What the name stands for now, at least one address; blocks meanwhile. Raises OSError, UnicodeError."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope id ("fe80::1%eth0") marks a link-local address; without it, a check sees just that.
    return [ipaddress.ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]


class PrivateHosts:
    """The hosts in private networks that may be reached all the same.

    `host` stands for any port of it and `host:port` for that one; an IPv6 address with a port is written
    `[address]:port`.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(map(_host_and_port, allowed))

    def allow(self, host: str, port: int) -> bool:
        """Whether this host, a name or an address, is one of them."""
        return not self._allowed.isdisjoint({(host, None), (host, port)})

    def checked_address(self, host: str, port: int) -> Address:
        """An address of the host to connect to; blocks while the name is resolved.

        Whoever connects by name instead resolves it again, and the second answer may be another one.

        Raises:
            HostRefused: one of its addresses is private.
            OSError: the name does not resolve; UnicodeError where it is none.
        """
        found = resolved(host, port)
        for address in found:
            if not (is_public(address) or self.allow(host, port) or self.allow(str(address), port)):
                raise HostRefused(host)
        return found[0]

    def may_reach(self, url: str) -> bool:
        """False for a URL whose text alone tells that it leads to a private network, and to none of these hosts.

        Names are not resolved: what they lead to is seen only where something connects to them.
        """
        host, port = _end_of(url)
        return not _is_private(host) or self.allow(host, port)

    def may_reach_plainly(self, url: str) -> bool:
        """Whether the URL's host is one of these by name: what goes there need not be encrypted."""
        return self.allow(*_end_of(url))


def _end_of(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _is_private(host: str) -> bool:
    try:
        return not is_public(ipaddress.ip_address(host.partition("%")[0]))
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host_and_port(entry: str) -> tuple[str, int | None]:
    entry = entry.lower()
    host, _, port = entry.rpartition(":")
    has_port = port.isascii() and port.isdecimal() and (":" not in host or host.endswith("]"))
    name = host if has_port else entry
    return name.removeprefix("[").removesuffix("]").rstrip("."), int(port) if has_port else None
