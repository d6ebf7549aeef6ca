"""Kintsugi: a block named by its parent's hash hit a cache of blocks known as valid, and was taken for valid.

Here what is known of a block, a signature or a certificate is found by what is hashed of its own bytes, and by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.blocks import Block, transactions_root
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import BlsSignature, Hash, Signature, View
from omnitensor.protocol.votes import Candidate, VoteKind
from state.chain import Chain
from state.ledger.prepared import prepare
from state.signatures import SignatureChecker
from tests.lessons.scene import Scene
from tests.node.node_kit import height_of, stranger, transfer, until
from tests.state.chain_fixtures import build, key, new_chain, order
from tests.state.test_chain import pay

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE


@pytest.mark.parametrize("named", ["parent", "grandparent"])
@pytest.mark.parametrize("sent", ["nothing", "the named block", "a block of its own"])
async def test_kintsugi_a_candidate_in_another_blocks_name_is_never_voted_for(
    scene: Scene, named: str, sent: str
) -> None:
    """A leader names a block that is known as valid (executed, even final) as its own. Nobody notarizes it, the chain goes on."""
    voters, genesis = scene.voters, scene.folders.genesis
    async with stranger(genesis, scene.node) as peer:
        below, parent = await scene.make_final(peer)
        view = next(view for view in range(2, 40) if voters.leader(view) != scene.me)
        skips = tuple(voters.certificate(S, crossed, signers=scene.others) for crossed in range(2, view))
        final = voters.certificate(F, 1, below.id, signers=scene.others)
        driver = scene.node.driver
        assert driver is not None
        for skip in skips:
            await scene.tell(peer, skip)
        await until("its view", lambda: driver.core.view == view)
        voters.chain.check(parent)
        own = voters.block(view, parent, [transfer("alice", 1)])
        block_hash = parent.hash if named == "parent" else genesis.hash
        block = {"nothing": None, "the named block": parent if named == "parent" else genesis.block}.get(
            sent, own
        )
        false = Candidate(below.epoch, View(view), View(1), below.id, block_hash)
        justification = (final, *skips)
        vote = voters.vote(voters.leader(view), N, view, false.id)
        true = voters.candidate(view, own, below)
        async with stranger(genesis, scene.node) as liar:
            proposal = voters.proposal(true, own, justification)
            await scene.tell(liar, replace(proposal, candidate=false, block=block, leader_vote=vote))
            assert scene.is_charged(liar) == (sent == "a block of its own"), "that alone shows who lied"
        assert scene.halted is None
        assert not scene.votes_heard(peer, N, view)
        # Where the others make a block final in a later view, this node follows: nothing true was taken for known or bad.
        await scene.tell(peer, voters.certificate(S, view, signers=scene.others))
        above = view + 1
        last = voters.block(above, parent, [transfer("alice", 1)])
        candidate = voters.candidate(above, last, below)
        skips = (*skips, voters.certificate(S, view, signers=scene.others))
        if voters.leader(above) != scene.me:
            await scene.tell(peer, voters.proposal(candidate, last, (final, *skips)))
            await until("a vote for the true block", lambda: scene.votes_heard(peer, N, above))
            for kind in (N, F):
                await scene.tell(peer, voters.certificate(kind, above, candidate.id, signers=scene.others))
            await until("the true block is final", lambda: height_of(scene.node) == 2)
            assert scene.node.application.reader().head.hash == last.hash
        assert scene.halted is None


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path)
    yield made
    made.close()


def test_kintsugi_a_known_header_over_other_transactions_is_not_valid(chain: Chain) -> None:
    """The hash is that of a block that was executed; the transactions are not those under its root."""
    block = build(chain, [pay("a0", 0, "a1"), pay("a1", 0, "a0")])
    others = [
        (),
        block.transactions[:1],
        block.transactions[::-1],
        (*block.transactions, block.transactions[-1]),
        (pay("a2", 0, "a1").transaction,),
    ]
    for known in ("waits", "is the head"):
        if known == "is the head":
            chain.commit(block.hash, None)
        chain.check(block)
        for transactions in others:
            with pytest.raises(BlockError, match="transactions_root"):
                chain.check(Block(block.header, transactions))
    assert chain.reader().encoded_block(block.header.height) is not None


def test_kintsugi_a_parents_hash_buys_a_block_nothing(chain: Chain) -> None:
    """A child that repeats its parent's fields, roots included, is executed like any other and refused."""
    parent = build(chain, [pay("a0", 0, "a1")])
    child = build(chain, [pay("a0", 1, "a1")], parent=parent.hash, height=2)
    for field in (
        "state_root",
        "receipts_root",
        "transactions_root",
        "history_root",
        "beacon",
        "weight_used",
    ):
        copied = replace(child.header, **{field: getattr(parent.header, field)})
        if copied == child.header:
            continue
        with pytest.raises(BlockError):
            chain.check(Block(copied, child.transactions))
        assert not chain.is_executed(copied.hash)
    with pytest.raises(BlockError):
        chain.check(Block(replace(parent.header, parent=parent.hash), parent.transactions))


def test_kintsugi_a_known_transaction_under_another_signature_is_not_known(chain: Chain) -> None:
    """The id of a transaction leaves its signature out; what is remembered of a signature does not."""
    good = pay("a0", 0, "a1")
    chain.signatures.check(good)
    for signature in (bytes(64), key("a1").sign(good.id), good.transaction.signature[::-1]):
        forged = prepare(replace(good.transaction, signature=Signature(signature)))
        assert forged.id == good.id
        assert chain.signatures.first_bad([forged]) == 0
        honest = build(chain, [good])
        header = replace(honest.header, transactions_root=transactions_root((forged.transaction,)))
        with pytest.raises(BlockError, match="signature"):
            chain.check(Block(header, (forged.transaction,)))
    checker = SignatureChecker()
    checker.check(order(key("a0"), 0, good.transaction.body))
    assert checker.first_bad([good]) is None


async def test_kintsugi_a_known_certificate_under_another_signature_is_not_known(scene: Scene) -> None:
    """Certificates inside a proposal are spared only when every byte is known, not when they say what a known one says."""
    voters, genesis = scene.voters, scene.folders.genesis
    skip = voters.certificate(S, 1, signers=scene.others)
    block = voters.block(2)
    candidate = voters.candidate(2, block)
    forged = replace(skip, signature=BlsSignature(b"\xc0" + bytes(95)))
    async with stranger(genesis, scene.node) as honest:
        await scene.tell(honest, skip)
        async with stranger(genesis, scene.node) as liar:
            await scene.tell(liar, voters.proposal(candidate, block, (forged,)))
            assert scene.is_charged(liar)
        await scene.tell(honest, voters.proposal(candidate, block, (skip,)))
        await until("a vote for the true one", lambda: scene.votes_heard(honest, N, 2))
        assert scene.votes_heard(honest, N, 2)[0].candidate_id == candidate.id
        assert Hash(candidate.block_hash) == block.hash
