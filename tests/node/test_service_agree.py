"""Validators in one process, with real databases and sockets: they agree, come back, and stand a hostile one and a copied one."""

from __future__ import annotations

import shutil
from pathlib import Path

from node import keys as node_keys
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import Proposal, VoteKind
from p2p.interface import Judgement, Verdict
from p2p.messages import Gossip, PeerId
from tests.node.node_kit import (
    Stranger,
    assert_agreement,
    height_of,
    make_folders,
    node_at,
    running,
    transfer,
    until,
)
from tests.node.voters import Voters


async def test_four_agree_and_one_comes_back(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    async with running(folders.homes) as nodes:
        await until("5 blocks", lambda: min(map(height_of, nodes)) >= 5)
        pay = transfer("alice", 0)
        await nodes[0]._backend.submit(pay.encoded)
        await until(
            "the payment is final everywhere",
            lambda: all(node.application.reader().receipt(pay.id) for node in nodes),
        )
        last = nodes.pop()
        await last.stop()
        reached = height_of(nodes[0])
        await until("three go on", lambda: height_of(nodes[0]) >= reached + 4)
        back = node_at(folders.homes[3], nodes)
        nodes.append(back)
        await back.start()
        await until("the fourth is as far again", lambda: height_of(back) >= reached + 8)
        await until("it votes again", lambda: back.driver is not None and back.driver.core.me is not None)
        assert all(peer.score == 0 for node in nodes for peer in node.network.peers())
        assert_agreement(nodes)


class HostileValidator(Stranger):
    """Votes for everything and against everything, with a true key, and never offers a block itself."""

    def __init__(self, voters: Voters, me: int) -> None:
        super().__init__(voters.genesis)
        self._voters = voters
        self._me = me
        self._done: set[int] = set()

    async def on_gossip(self, peer_id: PeerId, message: Gossip) -> Judgement:
        if isinstance(message, Proposal) and message.candidate.view not in self._done:
            view = message.candidate.view
            self._done.add(view)
            peers = [peer.peer_id for peer in self.host.peers()]
            vote, me = self._voters.vote, self._me
            said = [
                vote(me, VoteKind.NOTARIZE, view, message.candidate.id),
                vote(me, VoteKind.SKIP, view),
                vote(me, VoteKind.FINALIZE, view, message.candidate.id),
                vote(me, VoteKind.NOTARIZE, view, Hash(b"\x07" * 32)),
                vote(me, VoteKind.FINALIZE, view, Hash(b"\x07" * 32)),
            ]
            for number, one in enumerate(said):
                self.host.send(peers[number % len(peers)], one)
        return Verdict.IGNORE


async def test_three_agree_beside_one_that_votes_for_everything(tmp_path: Path) -> None:
    folders = make_folders(tmp_path)
    voters = Voters(folders, tmp_path)
    hostile_key = folders.keys(3).consensus_public
    me = [entry.consensus_key for entry in voters.table.entries].index(hostile_key)
    async with running(folders.homes[:3]) as nodes:
        hostile = HostileValidator(voters, me)
        try:
            await hostile.start(*nodes)
            await until("12 blocks", lambda: min(map(height_of, nodes)) >= 12)

            def metrics() -> str:
                return b"".join(node.metrics.text() for node in nodes).decode()

            await until(
                "it is seen to be faulty",
                lambda: 'omnitensor_evidence_total{kind="ConflictingVotes"}' in metrics(),
            )
            assert all(node.driver is not None and node.driver.halted is None for node in nodes)
            assert_agreement(nodes)
        finally:
            await hostile.stop()
    voters.close()


async def test_a_validator_that_runs_twice_stops_itself(tmp_path: Path) -> None:
    """A folder copied with its keys and safety store: whoever hears its own key say what it has not said stops voting."""
    folders = make_folders(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(folders.homes[3], copy)
    other = copy / "keys" / node_keys.IDENTITY_SECRET
    other.unlink()
    write_private(other, SigningKey.generate().seed.hex().encode())
    async with running(folders.homes) as nodes:
        await until("3 blocks", lambda: min(map(height_of, nodes)) >= 3)
        twin = node_at(copy, nodes)
        try:
            await twin.start()
            twins = (nodes[3], twin)
            await until(
                "one of the two stops voting",
                lambda: any(node.driver is not None and node.driver.halted for node in twins),
            )
            said = " ".join(str(node.driver.halted) for node in twins if node.driver is not None)
            assert "Another process uses its key" in said
            reached = height_of(nodes[0])
            await until("the others go on", lambda: height_of(nodes[0]) >= reached + 4)
            assert all(node.driver is not None and node.driver.halted is None for node in nodes[:3])
            assert_agreement(nodes[:3])
        finally:
            await twin.stop()
