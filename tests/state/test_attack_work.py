"""Work that a stranger could make large for little: what one transaction looks at does not grow with what others did."""

from __future__ import annotations

import pytest

from omnitensor.protocol.types import Address
from state import overlay as overlays
from state.overlay import DictBase, Overlay
from state.records import UNIT
from state.schema import SESSION_KEYS_BY_OWNER


def test_a_scan_of_few_rows_looks_at_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adding a session key scans its owner's: a block of them must not look at each other's, block by block above it."""
    lower = Overlay(DictBase())
    overlay = Overlay(lower)
    owners = [Address(bytes([0, *number.to_bytes(32, "big")])) for number in range(1_000)]
    for layer in (lower, overlay):
        for owner in owners:
            layer.put(SESSION_KEYS_BY_OWNER, UNIT, owner, bytes(32))
    looks = 0
    real = overlays.in_range

    def counted(key: bytes, prefix: bytes, start: bytes, reverse: bool) -> bool:
        nonlocal looks
        looks += 1
        return real(key, prefix, start, reverse)

    monkeypatch.setattr(overlays, "in_range", counted)
    for owner in owners[::100]:
        assert len(list(overlay.scan(SESSION_KEYS_BY_OWNER, owner))) == 1
        assert len(list(overlay.scan(SESSION_KEYS_BY_OWNER, owner, reverse=True))) == 1
    assert looks <= 10 * 2 * 2 * 2
