"""A node warns of an upgrade that it does not know from when it is planned, and ends when its height has come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node import upgrading
from node.upgrading import UpgradeWatch
from omnitensor.protocol.bodies import SoftwareUpgrade
from omnitensor.protocol.types import Height
from state.ledger import upgrades
from state.ledger.upgrades import UpgradeError
from state.records_governance import ProposalStatus
from tests.state.test_governed_chain import Net


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


async def test_it_warns_then_ends(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrading, "UPGRADE_LINGER_SECONDS", 0.0)
    with capture_logs() as said:
        watch = UpgradeWatch(net.maker.reader)
        watch.head_moved()
    assert said == []
    at = net.maker.head.height + 12
    assert net.enact(SoftwareUpgrade("two", "2.0", Height(at))) is ProposalStatus.EXECUTED
    with capture_logs() as said:
        for _ in range(3):
            watch.head_moved()
        UpgradeWatch(net.maker.reader)
    assert [(line["upgrade"], line["version"], line["height"]) for line in said] == [("two", "2.0", at)] * 2
    assert said[0]["blocks_left"] == at - 1 - net.maker.head.height
    while net.maker.head.height < at - 1:
        net.block()
    watch.head_moved()
    with pytest.raises(UpgradeError, match=f"height {at}"):
        await watch.run()
    with pytest.raises(UpgradeError):
        UpgradeWatch(net.maker.reader)
    monkeypatch.setattr(upgrades, "KNOWN", frozenset({"two"}))
    with capture_logs() as said:
        UpgradeWatch(net.maker.reader)
    assert said == []
