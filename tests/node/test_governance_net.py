"""Real nodes that govern: pace and fees change by a vote, a fresh node syncs through it, an upgrade stops old software."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from node import upgrading
from node.service import Node
from omnitensor.protocol.bodies import (
    BodyBase,
    Content,
    ParameterChange,
    ParameterChanges,
    ProposalSubmit,
    ProposalVote,
    SoftwareUpgrade,
    VoteOption,
)
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.types import NANO, Amount, Height, ParameterNumber, ProposalId
from state.ledger import upgrades
from state.ledger.ballots import proposal_of
from state.ledger.upgrades import UpgradeError
from state.records_governance import ProposalStatus
from state.schema import PROPOSALS
from tests.node.node_kit import (
    PARAMS,
    account_key,
    assert_agreement,
    height_of,
    make_folders,
    node_at,
    running,
    transaction,
    until,
)

GOVERNED = replace(
    PARAMS,
    epoch_blocks=6,
    evidence_epochs=50,
    unbonding_blocks=1_000,
    proposal_deposit_min=Amount(10 * NANO),
    proposal_voting_blocks=24,  # a vote has to come in on a busy machine, too
    proposal_timelock_blocks=2,
)
VALIDATORS = ("v0", "v1", "v2", "v3")


async def send(node: Node, who: str, body: BodyBase) -> None:
    nonce = node.application.reader().account(account_key(who).address).nonce
    order = transaction(who, nonce, body)
    await node._backend.submit(order.encoded)
    await until(f"{body.KIND} is final", lambda: node.application.reader().receipt(order.id))
    placed = node.application.reader().receipt(order.id)
    assert placed is not None
    assert placed.receipt.ok, placed.receipt


async def pass_proposal(nodes: Sequence[Node], content: Content) -> int:
    """Proposes, and has all validators but one vote for it, each through its own node."""
    await send(nodes[0], "alice", ProposalSubmit("Title", "", content, Amount(10 * NANO)))
    number = sum(1 for _ in nodes[0].application.reader().scan(PROPOSALS))
    body = ProposalVote(ProposalId(number), VoteOption.YES)
    await asyncio.gather(*(send(node, name, body) for node, name in zip(nodes[:3], VALIDATORS, strict=False)))
    return number


def status(node: Node, number: int) -> ProposalStatus:
    return ProposalStatus(proposal_of(node.application.reader(), number).status)


def pace(node: Node) -> int | None:
    """The block interval that the node's consensus keeps; none where it has not begun."""
    return None if node.driver is None else node.driver.core.settings.block_interval_ms


@pytest.mark.timeout(900)
async def test_pace_and_fees_change_by_vote_and_a_fresh_node_syncs_through_it(tmp_path: Path) -> None:
    folders = make_folders(tmp_path, params=GOVERNED)
    changes = ParameterChanges(
        (
            ParameterChange("block_interval_ms", ParameterNumber(60)),
            ParameterChange("base_fee_min", ParameterNumber(70)),
            ParameterChange("base_fee_change_bps", ParameterNumber(1_000)),
        )
    )
    async with running(folders.homes) as nodes:
        await until("the first block", lambda: min(map(height_of, nodes)) >= 1)
        number = await pass_proposal(nodes, changes)
        await until(
            "it is executed everywhere",
            lambda: all(status(node, number) is ProposalStatus.EXECUTED for node in nodes),
            seconds=600,
        )
        executed = proposal_of(nodes[0].application.reader(), number).ended_at
        boundary = next(h for h in range(executed, executed + 7) if is_boundary(Height(h), GOVERNED))
        await until(
            "everybody keeps the new pace",
            lambda: all(height_of(node) > boundary and pace(node) == 60 for node in nodes),
        )
        for node in nodes:
            reader = node.application.reader()
            found = [reader.block(Height(height)) for height in (executed, executed + 1)]
            fees = [block.header.base_fee for block in found if block is not None]
            assert fees[0] < 70
            assert fees[1] == 70, "the least fee counts from the next block on"
            assert reader.params().base_fee_min == 70
        # One comes back in the middle of an epoch, and one is new; both are of one mind with the rest.
        last = nodes.pop()
        await last.stop()
        back = node_at(folders.homes[3], nodes)
        nodes.append(back)
        await back.start()
        fresh = node_at(folders.extra("fresh"), nodes)
        nodes.append(fresh)
        await fresh.start()
        goal = height_of(nodes[0]) + 8
        await until("all are level", lambda: min(map(height_of, nodes)) >= goal)
        await until("all keep the new pace", lambda: all(pace(node) == 60 for node in nodes))
        assert fresh.application.reader().params() == nodes[0].application.reader().params()
        assert_agreement(nodes)


@pytest.mark.timeout(900)
async def test_software_that_does_not_know_an_upgrade_stops_before_it_and_newer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Linger:
        """Whoever ends first stays until all have the last block, and not for so many seconds of a busy machine."""

        Event = asyncio.Event

        @staticmethod
        async def sleep(_: float) -> None:
            await until("all have the last block", lambda: min(map(height_of, nodes)) >= at - 1)

    monkeypatch.setattr(upgrading, "asyncio", Linger)
    monkeypatch.setattr(upgrades, "KNOWN", frozenset())
    folders = make_folders(tmp_path, params=GOVERNED)
    async with running(folders.homes) as nodes:
        await until("the first block", lambda: min(map(height_of, nodes)) >= 1)
        at = height_of(nodes[0]) + 70
        number = await pass_proposal(nodes, SoftwareUpgrade("two", "2.0.0", Height(at)))
        await until(
            "every node ends by itself", lambda: all(node.failed.is_set() for node in nodes), seconds=240
        )
        assert status(nodes[0], number) is ProposalStatus.EXECUTED
        for node in nodes:
            assert isinstance(node.failure, UpgradeError), node.failure
            assert "install OmniTensor 2.0.0" in str(node.failure)
            assert height_of(node) == at - 1, "the last block before it is final, and none above"
        assert_agreement(nodes)
    with pytest.raises(UpgradeError, match=f"height {at}"):
        node_at(folders.homes[0])
    monkeypatch.setattr(upgrades, "KNOWN", frozenset({"two"}))
    async with running(folders.homes) as nodes:
        await until("they go on", lambda: min(map(height_of, nodes)) >= at + 3)
        fresh = node_at(folders.extra("fresh"), nodes)
        nodes.append(fresh)
        await fresh.start()
        await until("a fresh node with newer software is there", lambda: height_of(fresh) >= at + 3)
        assert_agreement(nodes)
