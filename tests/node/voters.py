"""All validators' pens in a test's hand: signs votes, certificates, proposals and blocks as the genesis' validators would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from consensus.schedule.leaders import LeaderSchedule
from node import keys as node_keys
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Block, beacon_message
from omnitensor.protocol.types import Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import (
    SKIP_ID,
    Candidate,
    Certificate,
    FinalityProof,
    Proposal,
    Vote,
    VoteKind,
    vote_message,
)
from state.chain import Chain
from state.ledger.prepared import Prepared
from tests.attendance import attended
from tests.node.node_kit import Folders

EPOCH = Epoch(0)


class Voters:
    """Everybody's keys, by index in the validator table, and a chain of the test's own to build blocks with."""

    def __init__(self, folders: Folders, folder: Path) -> None:
        """``folder`` is for the chain of the test's own."""
        self.genesis = folders.genesis
        self.table = folders.genesis.table
        self.schedule = LeaderSchedule(self.table, self.genesis.hash)
        keys = [node_keys.load(home / "keys") for home in folders.homes]
        by_public = {key.consensus_public: key for key in keys}
        self.keys = [by_public[entry.consensus_key] for entry in self.table.entries]
        self.chain = Chain.create(folder / "builder", self.genesis)
        self.quiet = 3
        """Signs no certificate where none are named: the validator whose node is tested. One that sees its own signature under
        what it does not remember halts."""

    def close(self) -> None:
        self.chain.close()

    def leader(self, view: int) -> int:
        return self.schedule.leader(View(view))

    def views_of(self, signer: int, above: int, count: int = 1) -> list[int]:
        """The next views that a validator leads."""
        found: list[int] = []
        view = above
        while len(found) < count:
            view += 1
            if self.leader(view) == signer:
                found.append(view)
        return found

    # -- blocks

    def block(
        self,
        view: int,
        parent: Block | None = None,
        transactions: Sequence[Prepared] = (),
        *,
        at_ms: int | None = None,
        proposer: int | None = None,
    ) -> Block:
        """A valid block by a view's leader on a parent (the builder's head where None)."""
        header = self.chain.head.header if parent is None else parent.header
        parent_hash = self.chain.head.hash if parent is None else parent.hash
        who = self.leader(view) if proposer is None else proposer
        height = Height(header.height + 1)
        reveal = self.keys[who].sign(beacon_message(self.genesis.chain_id, height))
        timestamp_ms = TimeMs(header.timestamp_ms + 100 if at_ms is None else at_ms)
        signers = [index for index in range(len(self.keys)) if index != self.quiet]
        return self.chain.build(
            parent_hash,
            timestamp_ms,
            self.table.entries[who].address,
            reveal,
            list(transactions),
            attended(header, self.table, lambda index, message: self.keys[index].sign(message), signers),
        )

    def candidate(self, view: int, block: Block, parent: Candidate | None = None) -> Candidate:
        parent_view, parent_id = (
            (View(0), self.genesis.hash) if parent is None else (View(parent.view), parent.id)
        )
        return Candidate(EPOCH, View(view), parent_view, parent_id, block.hash)

    # -- signatures

    def vote(self, signer: int, kind: VoteKind, view: int, candidate_id: Hash = SKIP_ID) -> Vote:
        message = vote_message(self.genesis.chain_id, EPOCH, kind, View(view), candidate_id)
        signature = self.keys[signer].sign(message)
        return Vote(kind, EPOCH, View(view), candidate_id, signer, signature)

    def certificate(
        self, kind: VoteKind, view: int, candidate_id: Hash = SKIP_ID, signers: Sequence[int] = ()
    ) -> Certificate:
        """Of the given signers, or of all but the quiet one."""
        signers = signers or [index for index in range(len(self.keys)) if index != self.quiet]
        votes = [self.vote(signer, kind, view, candidate_id) for signer in signers]
        signature = bls.SCHEME.aggregate([vote.signature for vote in votes])
        bitmap = self.table.bitmap(tuple(signers))
        return Certificate(kind, EPOCH, View(view), candidate_id, bitmap, signature)

    def proof(self, candidate: Candidate) -> FinalityProof:
        return FinalityProof(candidate, self.certificate(VoteKind.FINALIZE, candidate.view, candidate.id))

    def proposal(
        self,
        candidate: Candidate,
        block: Block,
        justification: tuple[Certificate, ...] = (),
        signer: int | None = None,
    ) -> Proposal:
        who = self.leader(candidate.view) if signer is None else signer
        vote = self.vote(who, VoteKind.NOTARIZE, candidate.view, candidate.id)
        return Proposal(candidate, block, justification, vote)

    def final_chain(self, length: int) -> list[tuple[Candidate, Block, FinalityProof]]:
        """Final blocks above the builder's head, in views 1, 2, 3 ...; the builder commits them."""
        found: list[tuple[Candidate, Block, FinalityProof]] = []
        above: Candidate | None = None
        for view in range(1, length + 1):
            block = self.block(view)
            above = self.candidate(view, block, above)
            proof = self.proof(above)
            self.chain.commit(block.hash, proof)
            found.append((above, block, proof))
        return found
