"""What an operator sets for the network, and the text of addresses: `host:port`, `[v6]:port`, `peer-id@host:port`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omnitensor.protocol import limits
from p2p.errors import NetworkError
from p2p.messages import PeerId

_REMEDY = "write host:port, [IPv6]:port, or the peer's id (64 hexadecimal digits), @ and one of these"


@dataclass(frozen=True, slots=True)
class Seed:
    """An address to dial. Without `peer_id`, whoever answers there is taken."""

    host: str
    port: int
    peer_id: PeerId | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.peer_id.hex()}@{host}:{self.port}" if self.peer_id else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HostConfig:
    """Options of a host; every one has a default that suits a node behind a router."""

    listen: tuple[str, int] | None = None
    """Address and port to listen on; port 0 takes any. None: this node only dials."""
    bootstrap: tuple[Seed, ...] = ()
    """Dialled while there are fewer outbound peers than `peers_outbound_target`."""
    persistent: tuple[Seed, ...] = ()
    """Kept connected always; those with a known id have a place however full the node is."""
    node_name: str = ""
    address_book: Path | None = None
    peers_inbound_max: int = limits.peers_inbound_max
    peers_per_subnet_max: int = limits.peers_per_subnet_max
    peers_outbound_target: int = limits.peers_outbound_target
    exchange: bool = True
    """Whether to ask peers for addresses and to dial what they tell."""


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port of `host:port`; the port may be 0. Raises NetworkError naming the text."""
    host, port = _split(text, port_min=0)
    return host, port


def parse_seed(text: str) -> Seed:
    """The address that a text names. Raises NetworkError naming the text."""
    identity, at, rest = text.strip().rpartition("@")
    host, port = _split(rest, port_min=1)
    if not at:
        return Seed(host, port)
    try:
        peer_id = bytes.fromhex(identity)
    except ValueError:
        peer_id = b""
    if len(peer_id) != 32 or len(identity) != 64:
        raise NetworkError("not a peer's id before the @", value=text, remedy=_REMEDY)
    return Seed(host, port, PeerId(peer_id))


def _split(text: str, port_min: int) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not host or (":" in host and not bracketed) or len(host) > limits.host_chars_max:
        raise NetworkError("not an address of a node", value=text, remedy=_REMEDY)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and port_min <= int(port) <= 65_535):
        raise NetworkError("not a port", value=text, remedy=f"a port is {port_min} to 65535; " + _REMEDY)
    return host, int(port)
