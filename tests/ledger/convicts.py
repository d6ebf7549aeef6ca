"""Validators with real keys for tests of evidence: they sign what is asked of them, right or wrong."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from omnitensor.protocol import bls
from omnitensor.protocol.ballots import SKIP_ID, Certificate, Vote, VoteKind, vote_message
from omnitensor.protocol.evidence import ConflictingCertificates, ConflictingVotes
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Epoch, Hash, View
from omnitensor.protocol.votes import ValidatorEntry
from state.overlay import Overlay
from state.records import ValidatorSet
from state.schema import VALIDATOR_SETS
from tests.ledger.world import CHAIN, QUICK, World, address_of

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
A, B = Hash(b"a" * 32), Hash(b"b" * 32)


@cache
def secret_of(name: str) -> bytes:
    return bls.keygen(sha256(b"convicts" + name.encode()).digest())


@cache
def sign(name: str, chain: str, epoch: int, kind: VoteKind, view: int, candidate: Hash) -> bytes:
    return bls.sign(secret_of(name), vote_message(chain, Epoch(epoch), kind, View(view), candidate))


class Court(World):
    """A ledger whose validators have keys: the set of epoch 0 is in the state, as at genesis."""

    def __init__(self, validators: int = 4, params: Params = QUICK, **more: object) -> None:
        super().__init__(validators=validators, params=params, **more)  # type: ignore[arg-type]  # passed on
        by_address = sorted(self.validator_names, key=address_of)
        self.table_names = tuple(by_address)
        """Names by index in the table."""
        entries = tuple(
            ValidatorEntry(address_of(name), bls.sk_to_pk(secret_of(name)), self.stake // 10**9)
            for name in by_address
        )
        overlay = Overlay(self.base)
        overlay.put(VALIDATOR_SETS, ValidatorSet(Hash(bytes(32)), entries), 0)
        self.base.apply(overlay)
        self.genesis = dict(self.base.encoded)
        self.view = Overlay(self.base)

    def address(self, index: int) -> Address:
        return address_of(self.table_names[index])

    def vote(
        self,
        signer: int,
        kind: VoteKind,
        candidate: Hash = SKIP_ID,
        *,
        view: int = 3,
        epoch: int = 0,
        chain: str = CHAIN,
        by: int | None = None,
    ) -> Vote:
        """A vote in the name of ``signer``, signed with the key of ``by``."""
        name = self.table_names[(signer if by is None else by) % len(self.table_names)]
        signature = sign(name, chain, epoch, kind, view, candidate)
        return Vote(kind, Epoch(epoch), View(view), candidate, signer, signature)  # type: ignore[arg-type]  # of the right length

    def certificate(
        self,
        signers: tuple[int, ...],
        kind: VoteKind,
        candidate: Hash = SKIP_ID,
        *,
        bitmap: bytes | None = None,
    ) -> Certificate:
        votes = [self.vote(signer, kind, candidate) for signer in signers]
        bits = sum(1 << signer for signer in signers).to_bytes((len(self.table_names) + 7) // 8, "little")
        signature = bls.SCHEME.aggregate([vote.signature for vote in votes])
        return Certificate(kind, Epoch(0), View(3), candidate, bits if bitmap is None else bitmap, signature)

    def double_vote(self, signer: int, **more: int) -> ConflictingVotes:
        return ConflictingVotes.of(self.vote(signer, N, A, **more), self.vote(signer, N, B, **more))

    def double_certificate(self, one: tuple[int, ...], other: tuple[int, ...]) -> ConflictingCertificates:
        return ConflictingCertificates.of(self.certificate(one, F, A), self.certificate(other, F, B))
