"""What tests of single parts of consensus are made of: a table with known secrets, signed votes, certificates and proposals."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from consensus.schedule.leaders import LeaderSchedule
from consensus.stake.verify import Verifier
from omnitensor.protocol.blocks import Block, Header
from omnitensor.protocol.types import ACCOUNT_VERSION, Address, Epoch, Hash, View
from omnitensor.protocol.votes import (
    SKIP_ID,
    Candidate,
    Certificate,
    Proposal,
    ValidatorEntry,
    ValidatorTable,
    Vote,
    VoteKind,
    vote_message,
)
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from tests.simulation.application import CHAIN_ID, genesis_block, make_block
from tests.simulation.network import EPOCH_MS
from tests.simulation.scheme import SimScheme

LEADERS = Hash(sha256(b"workshop 2").digest())
"""Four equal validators lead the first four views one each, whatever a header looks like."""


class Workshop:
    """Makes genuine records of one table."""

    def __init__(
        self,
        weights: Iterable[int] = (10, 10, 10, 10),
        scheme: Any = None,
        credit: Iterable[int] = (),
        tickets: int = 8,
    ) -> None:
        """``credit`` of workers that are no validators; their indexes follow those of the table."""
        self.scheme = scheme if scheme is not None else SimScheme()
        weights, credit = tuple(weights), tuple(credit)
        self.secrets = [b"secret %03d" % index + bytes(32) for index in range(len(weights) + len(credit))]
        self.table = ValidatorTable(
            Epoch(0),
            tuple(
                ValidatorEntry(
                    Address(bytes([ACCOUNT_VERSION]) + index.to_bytes(32, "big")),
                    self.scheme.key(secret),
                    weight,
                )
                for index, (secret, weight) in enumerate(zip(self.secrets, weights, strict=False))
            ),
        )
        workers = tuple(
            WorkerEntry(
                Address(bytes([ACCOUNT_VERSION]) + (len(weights) + place).to_bytes(32, "big")),
                self.scheme.key(self.secrets[len(weights) + place]),
                amount,
            )
            for place, amount in enumerate(credit)
        )
        self.genesis = genesis_block(EPOCH_MS)
        self.schedule = LeaderSchedule(self.table, LEADERS, WorkerSet(workers, tickets))
        self.verifier = Verifier(CHAIN_ID, self.table, self.schedule, self.scheme)

    def vote(self, kind: VoteKind, view: int, candidate_id: Hash = SKIP_ID, signer: int = 0) -> Vote:
        message = vote_message(CHAIN_ID, Epoch(0), kind, View(view), candidate_id)
        signature = self.scheme.sign(self.secrets[signer], message)
        return Vote(kind, Epoch(0), View(view), candidate_id, signer, signature)

    def certificate(
        self, kind: VoteKind, view: int, candidate_id: Hash = SKIP_ID, signers: Iterable[int] | None = None
    ) -> Certificate:
        chosen = tuple(signers) if signers is not None else tuple(range(len(self.table)))
        total = self.scheme.new_sum()
        for signer in chosen:
            total.add(self.vote(kind, view, candidate_id, signer).signature)
        return Certificate(
            kind, Epoch(0), View(view), candidate_id, self.table.bitmap(chosen), total.signature()
        )

    def child(
        self, view: int, parent: Candidate | None = None, header: Header | None = None, **options: Any
    ) -> tuple[Candidate, Block]:
        """A candidate of a view with its block, on a parent (None: the root)."""
        below = header if header is not None else self.genesis.header
        proposer = self.schedule.address(self.schedule.leader(View(view)))
        timestamp_ms = options.pop("timestamp_ms", below.timestamp_ms + 300)
        block = make_block(below, proposer, timestamp_ms, **options)
        parent_view, parent_id = (
            (parent.view, parent.id) if parent is not None else (View(0), self.genesis.hash)
        )
        return Candidate(Epoch(0), View(view), parent_view, parent_id, block.hash), block

    def proposal(
        self, candidate: Candidate, block: Block, justification: tuple[Certificate, ...] = ()
    ) -> Proposal:
        leader = self.schedule.leader(View(candidate.view))
        vote = self.vote(VoteKind.NOTARIZE, candidate.view, candidate.id, leader)
        return Proposal(candidate, block, justification, vote)

    def view_led_by(self, index: int, after: int = 0) -> int:
        view = after + 1
        while self.schedule.leader(View(view)) != index:
            view += 1
        return view
