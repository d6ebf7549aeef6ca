"""Bitcoin: duplicated leaves hid a true block (2012), a 64-byte leaf passed for a node (2017), an input spent twice (2018)."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Block, transactions_root
from omnitensor.protocol.bodies import Scope, SessionKeyAdd, Transfer
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.types import NANO, SUPPLY_MAX, Address, Amount, Height
from omnitensor.protocol.votes import VoteKind
from state.chain import Chain
from state.ledger import registry, transfers
from state.ledger.accounts import account
from state.ledger.supply import SupplyError
from state.records import Account
from state.schema import ACCOUNTS
from tests.lessons.scene import Scene
from tests.node.node_kit import stranger, transfer, until
from tests.state.chain_fixtures import build, key, new_chain, order
from tests.state.test_chain import pay


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path)
    yield made
    made.close()


# -- 2012


@pytest.mark.parametrize("count", range(1, 12))
def test_bitcoin_2012_duplicated_leaves_change_the_root(count: int) -> None:
    """Any tail of the list said twice: in a tree that fills up with copies these have the same root."""
    leaves = [b"transaction %d" % number for number in range(count)]
    root = merkle.root_of(leaves)
    for tail in range(1, count + 1):
        assert merkle.root_of([*leaves, *leaves[-tail:]]) != root


async def test_bitcoin_2012_a_mutated_block_does_not_blacklist_the_true_one(scene: Scene) -> None:
    """The mutated one comes first, under the true header and the leader's true signature; the true one gets its vote."""
    voters, genesis = scene.voters, scene.folders.genesis
    block = voters.block(1, transactions=[transfer("alice", nonce) for nonce in range(3)])
    candidate = voters.candidate(1, block)
    true = voters.proposal(candidate, block)
    doubled = Block(block.header, (*block.transactions, block.transactions[-1]))
    turned = Block(block.header, block.transactions[::-1])
    assert doubled.hash == turned.hash == block.hash
    async with stranger(genesis, scene.node) as honest:
        for mutated in (doubled, turned, Block(block.header, ())):
            async with stranger(genesis, scene.node) as liar:
                await scene.tell(liar, replace(true, block=mutated))
                assert scene.is_charged(liar)
        await scene.tell(honest, true)
        await until("a vote", lambda: scene.votes_heard(honest, VoteKind.NOTARIZE, 1))
        assert scene.votes_heard(honest, VoteKind.NOTARIZE, 1)[0].candidate_id == candidate.id


def test_bitcoin_2012_nor_does_it_in_the_chain(chain: Chain, tmp_path: Path) -> None:
    block = build(chain, [pay("a0", nonce, "a1") for nonce in range(3)])
    (tmp_path / "other").mkdir()
    other = new_chain(tmp_path / "other")
    try:
        with pytest.raises(BlockError, match="transactions_root"):
            other.check(Block(block.header, (*block.transactions, block.transactions[-1])))
        other.check(block)
        other.commit(block.hash, None)
    finally:
        other.close()


# -- 2017


@pytest.mark.parametrize("count", range(2, 10))
def test_bitcoin_2017_a_node_is_never_a_leaf(count: int) -> None:
    """The 64 bytes under an inner node, offered as a leaf at every place of every smaller tree, with what path there is."""
    hashes = [merkle.leaf_hash(b"%d" % number) for number in range(count)]
    root = merkle.root(hashes)
    for place in range(0, count - 1, 2):
        inner = hashes[place] + hashes[place + 1]
        node = sha256(b"\x01" + inner).digest()
        path = merkle.inclusion_proof(hashes, place)[1:]
        for forged in (merkle.leaf_hash(inner), sha256(inner).digest()):
            assert forged != node
            for size in range(1, count + 1):
                for index in range(size):
                    assert not merkle.verify_inclusion(forged, index, size, path, root)
    # The shorter path does lead from the node to the root: it is the prefix alone that tells leaf from node.
    assert count > 2 or sha256(b"\x01" + hashes[0] + hashes[1]).digest() == root


# -- 2018


def test_bitcoin_2018_nothing_is_spent_twice_in_one_block(chain: Chain) -> None:
    """The same order twice, two orders of one nonce, one of them by a session key: one of them stands."""
    session = key("session")
    added = order(key("a0"), 0, SessionKeyAdd(session.public, int(Scope.REVIEW), Height(900), Amount(10**12)))
    chain.commit(build(chain, [added]).hash, None)
    first = pay("a0", 1, "a1", 600 * NANO)
    doubles = [
        [first, first],
        [first, pay("a0", 1, "a2", 600 * NANO)],
        [first, pay("a0", 1, "a1", 600 * NANO, signer=session)],
    ]
    honest = build(chain, [first])
    for orders in doubles:
        assert len(build(chain, orders).transactions) == 1
        transactions = tuple(each.transaction for each in orders)
        header = replace(honest.header, transactions_root=transactions_root(transactions))
        with pytest.raises(BlockError, match="can't stand in the block"):
            chain.check(Block(header, transactions))


@pytest.mark.parametrize("amount", [1, -1, NANO])
def test_bitcoin_2018_the_supply_is_checked_in_every_block(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, amount: int
) -> None:
    """A rule that makes or loses a single unit is found in the block in which it does, by whoever builds or checks it."""
    block = build(chain, [pay("a0", 0, "a1")])
    chain.commit(block.hash, None)

    def wrong(view: Any, ctx: Any, sender: Address, body: Transfer) -> Any:
        events = transfers.transfer(view, ctx, sender, body)
        row = account(view, body.to)
        view.put(ACCOUNTS, Account(Amount(row.balance + amount), row.nonce), body.to)
        return events

    true = build(chain, [pay("a0", 1, "a1")])
    handlers: dict[Any, Any] = registry.HANDLERS
    monkeypatch.setitem(handlers, Transfer, wrong)
    with pytest.raises(SupplyError):
        build(chain, [pay("a0", 1, "a2")])
    chain._pending.clear()
    with pytest.raises(SupplyError):
        chain.check(true)
    assert chain.genesis.reserve <= SUPPLY_MAX
