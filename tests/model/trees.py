"""Roots over rows and paths to them, after RFC 6962, as work has them. Part of the model; shares no code with the product."""

from __future__ import annotations

from hashlib import sha256

from tests.model.ground import tagged


def tree(rows: list[bytes]) -> bytes:
    """The root over some rows, after RFC 6962."""
    if not rows:
        return sha256(b"").digest()
    if len(rows) == 1:
        return sha256(b"\0" + rows[0]).digest()
    left = 1
    while 2 * left < len(rows):
        left *= 2
    return sha256(b"\1" + tree(rows[:left]) + tree(rows[left:])).digest()


def climbed(leaf: bytes, place: int, size: int, path: tuple[bytes, ...]) -> bytes | None:
    """The root that a leaf leads to by its path; None for a path of another length."""
    if size == 1:
        return None if path else leaf
    if not path:
        return None
    left = 1
    while 2 * left < size:
        left *= 2
    if place < left:
        below = climbed(leaf, place, left, path[:-1])
        return None if below is None else sha256(b"\1" + below + path[-1]).digest()
    below = climbed(leaf, place - left, size - left, path[:-1])
    return None if below is None else sha256(b"\1" + path[-1] + below).digest()


def keyed_root(worker: bytes, root: bytes) -> bytes:
    return tagged("work-outputs", worker, root)
