"""Fixtures of tests with real connections."""

from __future__ import annotations

import pytest

from omnitensor.protocol import limits


@pytest.fixture
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charges are counted to the point: none is forgiven in the seconds that a test may take. Nor is anybody late."""
    monkeypatch.setattr(limits, "peer_charge_fade_ms", 10**9)
    for name in ("ask_ms_max", "handshake_ms_max", "dial_ms_max", "silence_ms_max", "stall_ms_max"):
        monkeypatch.setattr(limits, name, 240_000)
