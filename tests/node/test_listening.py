"""A validator that starts signs nothing before it has heard from its peers, and goes on alone when nobody is there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from node import service
from tests.node.node_kit import make_folders, node_at, until


async def test_a_validator_hears_its_peers_before_consensus_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = make_folders(tmp_path).homes
    monkeypatch.setattr(service, "LISTEN_SECONDS", 1_000.0)
    first = node_at(homes[0])
    await first.start()
    second = node_at(homes[1], [first])
    try:
        await until("without peers to hear nobody is waited for", lambda: first.driver)
        await second.start()
        await until("with its peer heard it begins", lambda: second.driver)
    finally:
        await second.stop()
        await first.stop()


async def test_with_nobody_there_it_waits_and_then_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = make_folders(tmp_path).homes
    gone = node_at(homes[0])
    await gone.start()
    patient, other = node_at(homes[1], [gone]), node_at(homes[2], [gone])
    await gone.stop()
    monkeypatch.setattr(service, "LISTEN_SECONDS", 1_000.0)
    await patient.start()
    try:
        await asyncio.sleep(0.5)
        assert patient.driver is None
    finally:
        await patient.stop()
    monkeypatch.setattr(service, "LISTEN_SECONDS", 0.5)
    await other.start()
    try:
        await until("it goes on alone", lambda: other.driver)
    finally:
        await other.stop()
