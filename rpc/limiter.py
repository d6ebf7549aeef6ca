"""How often a client may call: a bucket of calls that fills at a steady rate. Knows clients' addresses and time as it is told."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from omnitensor.protocol import limits

_OWN_V6: Final = "::/64"
"""The network of ::1, in which there is nobody else."""


@lru_cache(maxsize=1_024)
def client_of(host: str | None) -> str:
    """Who a client is for limits: its IPv4 address, or the /64 that its IPv6 address lies in."""
    if not host:
        return ""
    try:
        address = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def has_place(host: str | None, connected: Iterable[str | None]) -> bool:
    """Whether one more connection of a host is within its client's share, given the hosts of all there are."""
    client = client_of(host)
    if is_own_machine(client):
        return True
    return sum(client_of(other) == client for other in connected) < limits.rpc_connections_per_client_max


@lru_cache(maxsize=1_024)
def is_own_machine(client: str) -> bool:
    """Whether a client is on the node's own machine."""
    try:
        return ipaddress.ip_network(client).network_address.is_loopback or client == _OWN_V6
    except ValueError:
        return client in ("", "localhost")


class Shares:
    """How many places of a kind each client holds. The node's own machine, where a proxy may be, has as many as there are."""

    def __init__(self, per_client: int) -> None:
        self._per_client: Final = per_client
        self._held: Final[Counter[str]] = Counter()

    def may_take(self, client: str) -> bool:
        """Whether one more is within the client's share."""
        return is_own_machine(client) or self._held[client] < self._per_client

    def take(self, client: str) -> None:
        self._held[client] += 1

    def give_back(self, client: str) -> None:
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]


class RateLimiter:
    """Token buckets by client. A client that is forgotten starts with a full one, which it has by then anyway or nearly so."""

    def __init__(
        self,
        per_second: int = limits.rpc_calls_per_second_max,
        burst: int = limits.rpc_calls_burst_max,
        clients_max: int = limits.rpc_clients_tracked_max,
    ) -> None:
        """``per_second`` of 0 lets everybody call as often as they like."""
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._clients_max: Final = clients_max
        self._buckets: Final[OrderedDict[str, tuple[float, float]]] = OrderedDict()

    def take(self, client: str, calls: int, now_s: float) -> bool:
        """Whether the client may make this many calls now; takes them if so."""
        if not self._per_second:
            return True
        tokens, since = self._buckets.pop(client, (float(self._burst), now_s))
        tokens = min(float(self._burst), tokens + (now_s - since) * self._per_second)
        may = tokens >= calls
        self._buckets[client] = (tokens - calls if may else tokens, now_s)
        while len(self._buckets) > self._clients_max:
            self._buckets.popitem(last=False)
        return may
