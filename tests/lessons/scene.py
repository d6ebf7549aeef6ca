"""One real validator among strangers on real sockets that hold everybody's keys, for whatever they may want to send it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from node.service import Node
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.votes import Candidate, Vote, VoteKind
from p2p.messages import Gossip, PeerId
from tests.node.node_kit import Folders, Stranger, height_of, is_peer, make_folders, node_at, transfer, until
from tests.node.voters import Voters


@dataclass
class Scene:
    """A running node that leads neither view 1 nor view 2, and the pens of all validators."""

    folders: Folders
    node: Node
    voters: Voters

    @property
    def me(self) -> int:
        me = self.node.application.epoch.me
        assert me is not None
        return me

    @property
    def others(self) -> tuple[int, ...]:
        """Everybody else's indexes: with equal stakes a quorum."""
        return tuple(index for index in range(len(self.voters.table)) if index != self.me)

    @property
    def id(self) -> PeerId:
        return self.node.network.peer_id

    @property
    def halted(self) -> str | None:
        return None if self.node.driver is None else self.node.driver.halted

    def is_charged(self, who: Stranger) -> bool:
        """Whether it has lost points, or its connection for them."""
        scores = [
            peer.score for peer in self.node.network.peers() if bytes(peer.peer_id) == who.identity.public
        ]
        return scores != [0]

    def judged(self) -> int:
        """Messages that the node has made up its mind about."""
        numbers = self.node.network.metrics()
        return sum(value for name, value in numbers.items() if name.startswith("p2p_judged"))

    async def tell(self, who: Stranger, *messages: Gossip) -> None:
        """Sends messages; returns once the node has judged each of them."""
        before = self.judged()
        for message in messages:
            assert who.host.send(self.id, message)
        await until("all are judged", lambda: self.judged() >= before + len(messages))

    def votes_heard(self, who: Stranger, kind: VoteKind, view: int) -> list[Vote]:
        return [
            heard
            for heard in who.heard
            if isinstance(heard, Vote) and (heard.signer, heard.kind, heard.view) == (self.me, kind, view)
        ]

    async def make_final(self, who: Stranger) -> tuple[Candidate, Block]:
        """A sound block of view 1 is proposed and finalized by the others: the node commits it, and is alive so far."""
        block = self.voters.block(1, transactions=[transfer("alice", 0)])
        candidate = self.voters.candidate(1, block)
        assert who.host.send(self.id, self.voters.proposal(candidate, block))
        await until("a vote for the sound block", lambda: self.votes_heard(who, VoteKind.NOTARIZE, 1))
        [vote] = self.votes_heard(who, VoteKind.NOTARIZE, 1)
        assert vote.candidate_id == candidate.id
        for kind in (VoteKind.NOTARIZE, VoteKind.FINALIZE):
            certificate = self.voters.certificate(kind, 1, candidate.id, signers=self.others)
            assert who.host.send(self.id, certificate)
        await until("the sound block is final", lambda: height_of(self.node) == 1)
        assert self.node.application.reader().head.hash == block.hash
        assert self.halted is None
        assert is_peer(self.node, who)
        return candidate, block


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Scene]:
    folders = make_folders(folder)
    voters = Voters(folders, folder)
    idle = next(index for index in range(4) if index not in (voters.leader(1), voters.leader(2)))
    key = voters.keys[idle].consensus_public
    place = next(n for n in range(4) if folders.keys(n).consensus_public == key)
    node = node_at(folders.homes[place])
    try:
        await node.start()
        await until("consensus has begun", lambda: node.driver is not None)
        yield Scene(folders, node, voters)
    finally:
        await node.stop()
        voters.close()
