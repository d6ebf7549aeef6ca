"""Network namespaces for a net: one a node and a bridge between them, cut by blackhole routes. Needs root and iproute2.

Knows addresses and routes; nothing of nodes. The machine's own network is left alone: the bridge has a namespace of its own.
"""

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from deploy.devnet.process import DevnetError

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_FOLDER: Final = Path("/run/netns")


def missing() -> str:
    """What this machine lacks for namespaces, in words; empty where nothing is missing."""
    if shutil.which("ip") is None:
        return "the program ip is missing (on Debian: apt-get install iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"ot-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces are not permitted here ({made.stderr.strip()})"
    try:
        tried = subprocess.run(
            ["ip", "-n", name, "link", "add", "br0", "type", "bridge"],
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if tried.returncode == 0 else f"bridges are not permitted here ({tried.stderr.strip()})"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def sweep() -> list[str]:
    """Removes what soaks left behind that were killed before they could; returns the names."""
    left = []
    for path in sorted(_FOLDER.glob("ot-*")) if _FOLDER.is_dir() else ():
        found = re.fullmatch(r"ot-(?:try-)?(\d+)(?:-.*)?", path.name)
        if found is None or Path(f"/proc/{found[1]}").exists():
            continue
        done = subprocess.run(["ip", "netns", "del", path.name], capture_output=True, check=False)
        if done.returncode == 0:
            left.append(path.name)
    return left


def _ip(*arguments: str) -> None:
    made = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise DevnetError(f"ip failed: {made.stderr.strip()}", value=" ".join(arguments))


class Place:
    """A namespace with an address on the bridge. ``inside`` runs work in it, on a thread of its own."""

    def __init__(self, name: str, address: str) -> None:
        self.name: Final = name
        self.address: Final = address
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name, initializer=self._enter)

    def inside(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, seeing the network as the namespace does: its own loopback, and the bridge."""
        return self._thread.submit(work).result()

    def beside(self, work: Callable[[], T]) -> "Future[T]":
        """Begins work that goes on by itself; ``inside`` waits until it has ended."""
        return self._thread.submit(work)

    def close(self) -> None:
        self._thread.shutdown()

    def _enter(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(_FOLDER / self.name, os.O_RDONLY)
        try:
            if library.setns(descriptor, _CLONE_NEWNET) != 0:
                raise DevnetError("a namespace can't be entered", value=os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)


class Town:
    """Places on one bridge. Use it as a context manager: what it made is removed again."""

    def __init__(self, count: int) -> None:
        self._hub = f"ot-{os.getpid()}-hub"
        self.places: Final = tuple(
            Place(f"ot-{os.getpid()}-{number}", f"10.77.0.{number}") for number in range(1, count + 1)
        )

    def __enter__(self) -> "Town":
        try:
            _ip("netns", "add", self._hub)
            _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
            _ip("-n", self._hub, "link", "set", "br0", "up")
            for number, place in enumerate(self.places, 1):
                _ip("netns", "add", place.name)
                outside = f"veth{number}"
                inside = ("type", "veth", "peer", "eth0", "netns", place.name)
                _ip("-n", self._hub, "link", "add", outside, *inside)
                _ip("-n", self._hub, "link", "set", outside, "master", "br0")
                _ip("-n", self._hub, "link", "set", outside, "up")
                _ip("-n", place.name, "link", "set", "lo", "up")
                _ip("-n", place.name, "addr", "add", f"{place.address}/24", "dev", "eth0")
                _ip("-n", place.name, "link", "set", "eth0", "up")
        except BaseException:  # Ctrl-C as well: nothing is left behind
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for place in self.places:
            place.close()
        for name in (*(place.name for place in self.places), self._hub):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def cut(self, one: Iterable[Place], other: Iterable[Place]) -> None:
        """Nothing passes between two groups any more."""
        self._routes("add", one, other)

    def heal(self, one: Iterable[Place], other: Iterable[Place]) -> None:
        """What ``cut`` did is undone."""
        self._routes("del", one, other)

    def _routes(self, verb: str, one: Iterable[Place], other: Iterable[Place]) -> None:
        others = tuple(other)
        for left in one:
            for right in others:
                for here, there in ((left, right), (right, left)):
                    _ip("-n", here.name, "route", verb, "blackhole", f"{there.address}/32")
