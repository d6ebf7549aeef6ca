"""What a node takes of the chain for an epoch stays as it was when the chain has gone on."""

from __future__ import annotations

from pathlib import Path

from consensus.stake.knowledge import Settings
from node.chain_work import ChainWork
from omnitensor.protocol.bodies import ParameterChange, ParameterChanges
from omnitensor.protocol.types import ParameterNumber
from state.records_governance import ProposalStatus
from tests.state.test_governed_chain import PARAMS, Net


def test_an_epoch_keeps_the_times_with_which_it_began(tmp_path: Path) -> None:
    """Sync may bring the chain into the next epoch between a look at it and the making of a core: it judges blocks by these."""
    net = Net(tmp_path)
    try:
        work = ChainWork(net.maker, None)
        before, _ = work.standing()
        faster = ParameterChange("block_interval_ms", ParameterNumber(PARAMS.block_interval_ms // 2))
        assert net.enact(ParameterChanges((faster,))) is ProposalStatus.EXECUTED
        while net.maker.params.block_interval_ms != faster.given:
            net.block()
        assert work.epoch.number > before.number
        for view, interval_ms in ((before, PARAMS.block_interval_ms), (work.epoch, faster.given)):
            settings = Settings.of(view.params, view.me, view.number, view.lead)
            assert settings.block_interval_ms == interval_ms
            assert settings.boundary == (view.number + 1) * PARAMS.epoch_blocks
    finally:
        net.close()
