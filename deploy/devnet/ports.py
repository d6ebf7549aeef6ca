"""Ports for a net on this machine: consecutive from a fixed one, or any that are free."""

import errno
import os
import socket
from collections.abc import Iterator
from typing import Final

from deploy.devnet.process import DevnetError

FIRST_PORT: Final = 9644
_FREE_FROM: Final = 12_000
_FREE_TO: Final = 31_000
"""Below where systems take ports for outgoing connections, so that a free one stays free."""
_STRIDE: Final = 997

_given: Final[set[int]] = set()
"""What this process has handed out: a node that is down, or that has not begun to listen, has its port all the same."""


def fixed_ports(count: int, first: int = FIRST_PORT) -> list[int]:
    """``count`` ports from ``first`` on. Raises DevnetError naming the one that is taken."""
    ports = list(range(first, first + count))
    for port in ports:
        if not _is_free(port):
            raise DevnetError(
                "a port that the devnet needs is taken",
                value=port,
                remedy="stop what listens there (another devnet?), or take free ports: make devnet ARGS='--ports auto'",
            )
    return ports


def free_ports(count: int) -> list[int]:
    """``count`` ports that nobody listens on, each given once. Two processes that ask at one time get different ones, mostly."""
    found: list[int] = []
    for port in _candidates():
        if port not in _given and _is_free(port):
            _given.add(port)
            found.append(port)
            if len(found) == count:
                return found
    raise DevnetError("no free ports", value=f"{_FREE_FROM} to {_FREE_TO}", remedy="stop some programs")


def _candidates() -> Iterator[int]:
    span = _FREE_TO - _FREE_FROM
    start = os.getpid() * _STRIDE % span
    return (_FREE_FROM + (start + step) % span for step in range(span))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
