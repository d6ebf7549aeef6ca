"""The chain: what it builds it accepts elsewhere, what is changed in a block is refused, unfinal blocks stack and are dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block, receipts_root, transactions_root
from omnitensor.protocol.bodies import StakeAdd, Transfer
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import BlockError, CodecError, LimitError
from omnitensor.protocol.merkle import RootBuilder, leaf_hash
from omnitensor.protocol.types import (
    NANO,
    SUPPLY_MAX,
    ZERO_HASH,
    Address,
    Amount,
    BlsSignature,
    Epoch,
    Hash,
    Height,
    Signature,
    TimeMs,
    View,
)
from omnitensor.protocol.votes import Attendance, Candidate, Certificate, FinalityProof, VoteKind
from state.blocks import decode_block, prepare_block
from state.chain import Chain
from state.ledger.fees import next_base_fee
from state.ledger.prepared import Prepared, prepare
from state.ledger.supply import SupplyError, check_everything
from state.mempool import Mempool
from state.schema import ACCOUNTS
from tests.state.chain_fixtures import START_MS, build, key, make_genesis, new_chain, order, reveal


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    made = new_chain(tmp_path)
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Chain]:
    (tmp_path / "other").mkdir()
    made = new_chain(tmp_path / "other")
    yield made
    made.close()


def pay(sender: str, nonce: int, receiver: str, amount: int = NANO, **more: Any) -> Prepared:
    return order(key(sender), nonce, Transfer(key(receiver).address, Amount(amount)), **more)


def proof_of(block: Block) -> FinalityProof:
    candidate = Candidate(Epoch(0), View(1), View(0), Hash(bytes(32)), block.hash)
    certificate = Certificate(
        VoteKind.FINALIZE, Epoch(0), View(1), candidate.id, b"\x07", BlsSignature(bytes(96))
    )
    return FinalityProof(candidate, certificate)


def test_what_one_builds_another_accepts_to_the_byte(chain: Chain, other: Chain) -> None:
    nonces = dict.fromkeys(("a0", "a1", "a2"), 0)
    for height in range(1, 8):
        orders = []
        for sender in nonces:
            orders.append(pay(sender, nonces[sender], f"x{height}", tip=height))
            nonces[sender] += 1
        orders.append(order(key("v1"), height - 1, StakeAdd(Amount(5))))
        block = build(chain, orders, proposer=f"v{height % 4}")
        assert decode(Block, encode(block)) == block
        other.check(decode_block(encode(block)))
        assert chain.commit(block.hash, None) == other.commit(block.hash, None)
    assert dict(chain._store.scan(b"\x01", None)) == dict(other._store.scan(b"\x01", None))
    check_everything(chain.reader())
    assert sum(chain.reader().supply().values()) == SUPPLY_MAX


def test_header_agrees_with_the_protocols_own_roots(chain: Chain) -> None:
    hashes = RootBuilder()
    for height in range(1, 12):
        hashes.push(leaf_hash(chain.head.hash))
        block = build(chain, [pay("a0", height - 1, "a1")])
        result = chain.commit(block.hash, None).result
        assert block.header.history_root == hashes.root()
        assert block.header.transactions_root == transactions_root(block.transactions)
        assert block.header.receipts_root == receipts_root(result)
        assert block.header.height == height
        prepared = prepare_block(block)
        assert prepared.encoded == encode(block)
        assert prepared.hash == block.hash
        assert [t.id for t in prepared.transactions] == [t.id for t in block.transactions]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 300])
def test_blocks_are_assembled_canonically(chain: Chain, count: int) -> None:
    block = build(chain, [pay("a0", nonce, "a1", nonce + 1) for nonce in range(count)])
    assert len(block.transactions) == count
    assert decode_block(encode(block)).block == block


MUTATIONS: dict[str, Any] = {
    "version": 2,
    "chain_id": "another",
    "height": Height(3),
    "epoch": Epoch(1),
    "parent": Hash(b"\x01" * 32),
    "timestamp_ms": TimeMs(START_MS - 1),
    "proposer": Address(key("v1").address),
    "beacon_reveal": b"\x00" * 96,
    "beacon": Hash(b"\x01" * 32),
    "base_fee": 7,
    "weight_used": 1,
    "transactions_root": Hash(b"\x01" * 32),
    "receipts_root": Hash(b"\x01" * 32),
    "work_root": Hash(b"\x01" * 32),
    "state_root": Hash(b"\x01" * 32),
    "validators_hash": Hash(b"\x01" * 32),
    "next_validators_hash": Hash(b"\x01" * 32),
    "history_root": Hash(b"\x01" * 32),
    "attendance": Attendance(
        VoteKind.FINALIZE, View(1), View(0), ZERO_HASH, b"\x0f", BlsSignature(bytes(96))
    ),
}


def test_every_field_of_a_header_is_checked(chain: Chain, other: Chain) -> None:
    block = build(chain, [pay("a0", 0, "a1")])
    assert set(MUTATIONS) == set(block.header.__struct_fields__)
    for field, value in MUTATIONS.items():
        with pytest.raises(BlockError):
            other.check(Block(replace(block.header, **{field: value}), block.transactions))
    other.check(block)


def test_a_proposer_outside_the_table_is_refused(chain: Chain, other: Chain) -> None:
    block = build(chain)
    with pytest.raises(BlockError, match="neither a validator nor a worker"):
        other.check(Block(replace(block.header, proposer=key("a0").address), ()))


def test_bad_transactions_make_a_block_invalid(chain: Chain, other: Chain) -> None:
    """Each stands under its own root, so that it is its own fault that counts."""
    good = [pay("a0", nonce, "a1") for nonce in range(12)]
    forged = replace(good[3].transaction, signature=Signature(bytes(64)))
    cases = {
        "signature": [*good[:3], prepare(forged), *good[4:]],
        "next nonce": [good[0], good[0]],
        "next nonce is 0": [good[1]],
        "another chain": [pay("a0", 0, "a1", chain_id="elsewhere")],
        "expired": [pay("a0", 0, "a1", valid_until=0)],
        "valid for too long": [pay("a0", 0, "a1", valid_until=10**6)],
        "the fee is": [pay("a0", 0, "a1", max_fee=10)],
        "less than max_fee": [pay("a0", 0, "a1", max_fee=5_000 * NANO)],
        "session key": [pay("a0", 0, "a1", signer=key("a1"))],
    }
    honest = build(chain)
    for says, orders in cases.items():
        transactions = tuple(prepared.transaction for prepared in orders)
        header = replace(honest.header, transactions_root=transactions_root(transactions))
        with pytest.raises(BlockError) as refusal:
            other.check(Block(header, transactions))
        assert says in str(refusal.value)
        assert not other.is_executed(Block(header, transactions).hash)


def test_building_leaves_out_what_can_not_stand(chain: Chain) -> None:
    orders = [pay("a0", 1, "a1"), pay("a0", 0, "a1"), pay("a1", 0, "a0", max_fee=1), pay("a2", 0, "a1")]
    block = build(chain, orders)
    assert [t.sender for t in block.transactions] == [key("a0").address, key("a2").address]


def test_blocks_that_are_not_final_stack_and_losers_are_forgotten(chain: Chain) -> None:
    first = build(chain, [pay("a0", 0, "a1")])
    rival = build(chain, [pay("a0", 0, "a2")], proposer="v1")
    second = build(chain, [pay("a0", 1, "a1")], parent=first.hash, height=2)
    third = build(chain, [pay("a0", 2, "a1")], parent=second.hash, height=3)
    above_rival = build(chain, [pay("a0", 1, "a2")], parent=rival.hash, height=2)
    assert all(chain.is_executed(b.hash) for b in (first, rival, second, third, above_rival))
    assert chain.pending_ids(second.hash) == {t.id for t in (*first.transactions, *second.transactions)}
    assert chain.head.height == 0
    assert chain.reader().account(key("a0").address).nonce == 0
    chain.commit(first.hash, None)
    assert not chain.is_executed(rival.hash)
    assert not chain.is_executed(above_rival.hash)
    committed = chain.commit_path(third.hash, proof_of(third))
    assert [c.block for c in committed] == [second, third]
    fourth = build(chain, [pay("a0", 3, "a1")])
    assert len(fourth.transactions) == 1
    assert chain.reader().account(key("a0").address).nonce == 3


def test_an_unknown_parent_is_refused(chain: Chain, other: Chain) -> None:
    first = build(chain)
    second = build(chain, parent=first.hash, height=2)
    with pytest.raises(BlockError, match="parent"):
        other.check(second)
    other.check(first)
    other.check(second)
    with pytest.raises(AssertionError):
        other.commit(second.hash, None)


def test_no_block_comes_before_the_block_interval(chain: Chain, other: Chain) -> None:
    """What is counted in blocks (withdrawals, reviews, a light client's trust) lasts at least so many intervals."""
    interval = chain.params.block_interval_ms
    first = build(chain)
    block = build(chain, parent=first.hash, height=2)
    other.check(first)
    early = TimeMs(first.header.timestamp_ms + interval - 1)
    with pytest.raises(BlockError, match="block interval"):
        other.check(Block(replace(block.header, timestamp_ms=early), ()))
    other.check(block)


def test_a_block_is_never_built_before_the_block_interval(chain: Chain) -> None:
    block = build(chain, timestamp_ms=START_MS)
    assert block.header.timestamp_ms == START_MS + chain.params.block_interval_ms


def test_unfinal_blocks_are_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "pending_blocks_max", 4)
    spine = [build(chain)]
    for height in range(2, 4):
        spine.append(build(chain, parent=spine[-1].hash, height=height))
    for i in range(6):
        build(chain, timestamp_ms=START_MS + 1_000 + i)
    assert len(chain._pending) == 4
    assert chain.is_executed(spine[0].hash)


def test_a_reader_keeps_seeing_what_it_saw(chain: Chain) -> None:
    before = chain.reader()
    block = build(chain, [pay("a0", 0, "a1", 5)])
    chain.commit(block.hash, proof_of(block))
    assert before.head.height == 0
    assert before.account(key("a0").address).nonce == 0
    assert before.block(Height(1)) is None
    after = chain.reader()
    assert after.account(key("a1").address).balance == 1_000 * NANO + 5
    assert after.block(Height(1)) == after.block(block.hash) == block
    assert after.proof(Height(1)) == after.head.proof == proof_of(block)
    assert after.get(ACCOUNTS, key("a1").address) == after.account(key("a1").address)


def test_indexes_find_transactions_and_receipts(chain: Chain) -> None:
    for height in range(1, 6):
        block = build(chain, [pay("a0", height - 1, "a1", height), pay("a2", height - 1, "a0", 10**13)])
        chain.commit(block.hash, None)
    reader = chain.reader()
    newest = reader.transactions_by_address(key("a1").address, limit=2)
    assert [place for place, _ in newest] == [(5, 0), (4, 0)]
    older = reader.transactions_by_address(key("a1").address, before=newest[-1][0])
    assert [place for place, _ in older] == [(3, 0), (2, 0), (1, 0)]
    assert len(reader.transactions_by_address(key("a0").address)) == 5
    placed = reader.receipt(newest[0][1])
    assert placed is not None
    assert (placed.height, placed.index, placed.receipt.code) == (5, 0, "ok")
    refused = reader.receipt(reader.transactions_by_address(key("a2").address)[0][1])
    assert refused is not None
    assert refused.receipt.code == "balance"
    assert "the account has" in refused.receipt.reason


def test_sync_ends_at_a_proof(chain: Chain) -> None:
    blocks = []
    for height in range(1, 7):
        block = build(chain)
        chain.commit(block.hash, proof_of(block) if height in (3, 5) else None)
        blocks.append(encode(block))
    reader = chain.reader()
    assert reader.blocks_for_sync(Height(1), 10, 10**6) == (tuple(blocks[:5]), reader.proof(Height(5)))
    assert reader.blocks_for_sync(Height(1), 4, 10**6) == (tuple(blocks[:3]), reader.proof(Height(3)))
    assert reader.blocks_for_sync(Height(1), 2, 10**6) == (tuple(blocks[:2]), None)
    assert reader.blocks_for_sync(Height(1), 10, 10) == ((blocks[0],), None)
    assert reader.blocks_for_sync(Height(6), 10, 10**6) == ((blocks[5],), None)
    assert reader.blocks_for_sync(Height(7), 10, 10**6) == ((), None)
    assert reader.proof_at_or_above(Height(4)) == reader.proof(Height(5))
    assert reader.proof_at_or_above(Height(6)) is None


def test_reopening_continues_where_it_was(tmp_path: Path) -> None:
    chain = new_chain(tmp_path)
    for height in range(1, 5):
        block = build(chain, [pay("a0", height - 1, "a1")])
        chain.commit(block.hash, proof_of(block))
    head, reader = chain.head, chain.reader()
    rows = dict(chain._store.scan(b"\x01", None))
    build(chain, [pay("a0", 4, "a1")])
    chain.close()
    chain = Chain.open(tmp_path / "chain", make_genesis())
    assert chain.head == head
    assert chain.genesis == make_genesis()
    assert dict(chain._store.scan(b"\x01", None)) == rows
    assert chain.reader().next_base_fee == reader.next_base_fee
    block = build(chain, [pay("a0", 4, "a1")])
    assert len(block.transactions) == 1
    chain.commit(block.hash, None)
    chain.close()


def test_decoding_refuses_all_but_canonical_bytes(chain: Chain) -> None:
    data = encode(build(chain, [pay("a0", 0, "a1")]))
    for wrong in (b"", data[:-1], data + b"\0", b"\x93" + data[1:], data[:1] + b"\xdc\x00" + data[2:]):
        with pytest.raises(CodecError):
            decode_block(wrong)
    with pytest.raises(LimitError):
        decode_block(bytes(limits.block_bytes_max + 1))


def test_planted_money_stops_the_chain(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that prints money is found in the block where it does, by the running sums alone."""
    from state.ledger import registry, transfers
    from state.ledger.accounts import account
    from state.records import Account

    def generous(view: Any, ctx: Any, sender: Address, body: Transfer) -> Any:
        events = transfers.transfer(view, ctx, sender, body)
        row = account(view, body.to)
        view.put(ACCOUNTS, Account(Amount(row.balance + 1), row.nonce), body.to)
        return events

    monkeypatch.setitem(registry.HANDLERS, Transfer, generous)
    with pytest.raises(SupplyError):
        build(chain, [pay("a0", 0, "a1")])


def test_base_fee_of_blocks_follows_their_weight(chain: Chain) -> None:
    fee = chain.params.base_fee_initial
    assert build(chain).header.base_fee == fee
    for height in range(1, 6):
        block = build(chain, [pay("a0", height - 1, "a1")])
        assert block.header.base_fee == fee
        chain.commit(block.hash, None)
        fee = next_base_fee(fee, block.header.weight_used, chain.params)
    assert fee < chain.params.base_fee_initial


def test_mempool_feeds_blocks_across_unfinal_parents(chain: Chain) -> None:
    mempool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    for nonce in range(6):
        mempool.add(pay("a0", nonce, "a1").encoded)
    taken = mempool.select(100, 3 * pay("a0", 0, "a1").weight, 10**6)
    first = build(chain, taken)
    assert len(first.transactions) == 3
    rest = mempool.select(100, 10**7, 10**6, exclude=chain.pending_ids(first.hash))
    second = build(chain, rest, parent=first.hash, height=2)
    assert len(second.transactions) == 3
    chain.commit_path(second.hash, None)
    for block in (first, second):
        mempool.on_commit(block, chain.reader())
    assert len(mempool) == mempool.size_bytes == 0
    assert reveal(chain, 1, "v0") == first.header.beacon_reveal
