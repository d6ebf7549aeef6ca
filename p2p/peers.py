"""What peers have earned: charges that fade, bans that end, and who may connect. Knows the time it is told; no sockets."""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from typing import Final

from omnitensor.protocol import limits
from p2p.errors import HandshakeError
from p2p.messages import PeerId
from p2p.rates import TokenBucket

LOCAL: Final = "local"
"""The group of loopback and other addresses that never leave the machine."""


def network_group(host: str) -> str:
    """The part of a network that one operator is likely to hold: IPv4 /16, IPv6 /32, the last two labels of a name."""
    return _group(host, 16, 32)


def subnet(host: str) -> str:
    """A narrower group, for limits: IPv4 /24, IPv6 /48."""
    return _group(host, 24, 48)


def is_address(host: str) -> bool:
    """Whether a text is an IP address, without a zone: zones mean something to one machine only, and can be any text."""
    return "%" not in host and _address(host) is not None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _group(host: str, bits4: int, bits6: int) -> str:
    address = _address(host)
    if address is None:
        return LOCAL if host == "localhost" else ".".join(host.lower().split(".")[-2:])
    if address.is_loopback:
        return LOCAL
    bits = bits4 if address.version == 4 else bits6
    return str(ipaddress.ip_network((address, bits), strict=False))


class Scores:
    """Charges of peers by identity, connected or not, and bans. Bounded: the oldest entry gives way."""

    def __init__(self) -> None:
        self._charges: OrderedDict[PeerId, tuple[int, int]] = OrderedDict()
        self._bans: OrderedDict[PeerId, int] = OrderedDict()

    def charge(self, peer_id: PeerId, points: int, now_ms: int) -> bool:
        """Adds points; True when the peer is now banned."""
        assert points > 0
        total = self.points(peer_id, now_ms) + points
        self._charges.pop(peer_id, None)
        if total >= limits.peer_charge_points_max:
            self.ban(peer_id, now_ms)
            return True
        self._charges[peer_id] = (total, now_ms)
        _trim(self._charges)
        return False

    def points(self, peer_id: PeerId, now_ms: int) -> int:
        """What is left of a peer's charges: one point fades every `limits.peer_charge_fade_ms`."""
        total, since_ms = self._charges.get(peer_id, (0, now_ms))
        return max(0, total - (now_ms - since_ms) // limits.peer_charge_fade_ms)

    def ban(self, peer_id: PeerId, now_ms: int) -> None:
        """Keeps a peer away for `limits.peer_ban_ms`."""
        self._bans[peer_id] = now_ms + limits.peer_ban_ms
        self._bans.move_to_end(peer_id)
        _trim(self._bans)

    def banned(self, peer_id: PeerId, now_ms: int) -> bool:
        """Whether a peer is kept away now."""
        until_ms = self._bans.get(peer_id)
        if until_ms is not None and until_ms <= now_ms:
            del self._bans[peer_id]
            until_ms = None
        return until_ms is not None


def _trim(table: OrderedDict[PeerId, tuple[int, int]] | OrderedDict[PeerId, int]) -> None:
    while len(table) > limits.bans_max:
        table.popitem(last=False)


class Admission:
    """Counts connections by direction and subnet, from their first byte on, and says which may come in."""

    def __init__(self, inbound_max: int, per_subnet_max: int = limits.peers_per_subnet_max) -> None:
        self.inbound_max = inbound_max
        self.per_subnet_max = per_subnet_max
        self._handshakes: Counter[str] = Counter()
        self._inbound: Counter[str] = Counter()
        self._rates: OrderedDict[str, TokenBucket] = OrderedDict()

    def begin_handshake(self, host: str, now_ms: int) -> None:
        """Counts an incoming connection. Raises HandshakeError (`busy`) when too many are shaking hands, or did lately."""
        group = subnet(host)
        if self._handshakes.total() >= limits.handshakes_in_flight_max:
            raise HandshakeError("too many handshakes at once", value=host, code="busy")
        if group != LOCAL and self._handshakes[group] >= limits.handshakes_per_subnet_max:
            raise HandshakeError("too many handshakes of one subnet at once", value=group, code="busy")
        if group != LOCAL and not self._rate_of(group, now_ms).take(now_ms):
            raise HandshakeError("too many connections of one subnet lately", value=group, code="busy")
        self._handshakes[group] += 1

    def end_handshake(self, host: str) -> None:
        """It is over, in one way or the other."""
        _take(self._handshakes, subnet(host))

    def check_inbound(self, host: str, *, reserved: bool) -> None:
        """Raises HandshakeError (`full`) when an incoming peer has no place. A `reserved` (persistent) peer always has."""
        if reserved:
            return
        if self._inbound.total() >= self.inbound_max:
            raise HandshakeError(
                "all places for incoming peers are taken", value=self.inbound_max, code="full"
            )
        group = subnet(host)
        if group != LOCAL and self._inbound[group] >= self.per_subnet_max:
            raise HandshakeError("all places for peers of one subnet are taken", value=group, code="full")

    def add_inbound(self, host: str) -> None:
        self._inbound[subnet(host)] += 1

    def remove_inbound(self, host: str) -> None:
        _take(self._inbound, subnet(host))

    def _rate_of(self, group: str, now_ms: int) -> TokenBucket:
        """How often a subnet may begin: a handshake costs milliseconds of curve arithmetic."""
        bucket = self._rates.pop(group, None) or TokenBucket(*limits.handshake_rate, now_ms)
        self._rates[group] = bucket
        if len(self._rates) > limits.bans_max:
            self._rates.popitem(last=False)
        return bucket


def _take(counter: Counter[str], group: str) -> None:
    assert counter[group] > 0
    counter[group] -= 1
    if not counter[group]:
        del counter[group]
