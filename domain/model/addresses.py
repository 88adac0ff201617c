"""Addresses of the network: which belong to the public internet, and which private ones the operator allows."""

import ipaddress
from collections.abc import Iterable
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

    def may_reach(self, url: str) -> bool:
        """False for a URL whose text alone tells that it leads to a private network, and to none of these hosts.

        Names are not resolved: what they lead to is seen only where something connects to them.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        return not _is_private(host) or self.allow(host, port)


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
