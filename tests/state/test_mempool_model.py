"""The mempool against a slow model of its rules, over random offers and blocks, on a real chain with little room."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import StakeAdd, Transfer
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Address, Amount
from state.chain import Chain
from state.ledger.prepared import Prepared
from state.mempool import Mempool
from tests.state.chain_fixtures import build, key, make_genesis, new_chain, order
from tests.state.mempool_model import Room, SlowPool

SENDERS = 7
SEEDS = 4
STEPS = 260
ROOM = Room(transactions=12, size_bytes=2_900, per_sender=6, gapped=4, gapped_bytes=900, gap_blocks=3)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    for name, value in {
        "mempool_transactions_max": ROOM.transactions,
        "mempool_bytes_max": ROOM.size_bytes,
        "mempool_per_sender_max": ROOM.per_sender,
        "mempool_gapped_max": ROOM.gapped,
        "mempool_gapped_bytes_max": ROOM.gapped_bytes,
        "mempool_gap_blocks_max": ROOM.gap_blocks,
    }.items():
        monkeypatch.setattr(limits, name, value)
    made = new_chain(tmp_path, make_genesis(accounts=SENDERS, balance=1_400_000))
    yield made
    made.close()


class Both:
    """The mempool and the model, fed alike."""

    def __init__(self, chain: Chain, seed: int) -> None:
        self.chain = chain
        self.chance = random.Random(seed)
        self.pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
        self.model = SlowPool(ROOM)
        self.codes: dict[str, int] = {}

    def account(self, address: bytes) -> tuple[int, int]:
        row = self.chain.reader().account(Address(address))
        return row.nonce, row.balance

    def offer(self) -> None:
        chance, reader = self.chance, self.chain.reader()
        sender = key(f"a{chance.randrange(SENDERS)}")
        nonce = max(0, self.account(sender.address)[0] + chance.choice([-1, 0, 0, 0, 1, 1, 2, 3, 4, 7]))
        body = (
            StakeAdd(Amount(1))
            if chance.random() < 0.2
            else Transfer(key("a0").address, Amount(chance.randrange(1, 9)))
        )
        prepared = order(
            sender,
            nonce,
            body,
            tip=chance.choice([0, 0, 0, 7, 50, 300]),
            max_fee=chance.choice([reader.next_base_fee * 500, 70_000, 90_000, 90_000, 150_000, 700_000]),
            valid_until=reader.head.height + chance.choice([0, 2, 4, 90, 90, 90, 90]),
        )
        expected = self.model.add(
            prepared.transaction,
            len(prepared.encoded),
            prepared.weight,
            reader.next_base_fee,
            reader.head.height,
            self.account,
        )
        got = self._add(prepared)
        if got == "duplicate" and expected == "nonce":
            expected = "duplicate"  # it is final already: the pool says so rather than that the nonce is gone
        assert got == expected, (prepared.transaction, reader.head.height)
        self.codes[got] = self.codes.get(got, 0) + 1

    def _add(self, prepared: Prepared) -> str:
        try:
            self.pool.add(prepared.encoded)
        except ProtocolError as refused:
            return refused.code
        return ""

    def block(self) -> None:
        reader = self.chain.reader()
        count = self.chance.choice([0, 0, 1, 2, 5])
        chosen = self.pool.select(reader.next_base_fee, 10**6, 10**6)[:count]
        if self.chance.random() < 0.3:  # somebody else's block holds what this node has never seen
            sender = key(f"a{self.chance.randrange(SENDERS)}")
            nonce = self.account(sender.address)[0]
            chosen = [one for one in chosen if one.transaction.sender != sender.address]
            chosen.append(order(sender, nonce, Transfer(key("a1").address, Amount(3)), max_fee=90_000, tip=1))
        block = build(self.chain, chosen)
        self.chain.commit(block.hash, None)
        self.pool.on_commit(block, self.chain.reader())
        senders = {bytes(one.sender) for one in block.transactions}
        self.model.after_block(senders, self.chain.head.height, self.account)

    def compare(self) -> None:
        waiting = {one.transaction.id for one in self.model.all}
        assert set(self.pool.ids()) == waiting
        assert self.pool.size_bytes == sum(one.size for one in self.model.all) <= ROOM.size_bytes
        assert len(self.pool) <= ROOM.transactions
        for number in range(SENDERS):
            address = key(f"a{number}").address
            mine = [one.transaction for one in self.model.of(address)]
            assert [one.transaction for one in self.pool.by_sender(address)] == mine


def test_it_keeps_what_the_slow_model_keeps(chain: Chain) -> None:
    codes: dict[str, int] = {}
    for seed in range(SEEDS):
        both = Both(chain, seed)
        for _ in range(STEPS):
            if both.chance.random() < 0.12:
                both.block()
            else:
                both.offer()
            both.compare()
        for code, count in both.codes.items():
            codes[code] = codes.get(code, 0) + count
    refusals = {"nonce", "nonce_gap", "replacement", "balance", "mempool_full", "max_fee", "expired"}
    assert codes[""] > 200
    assert not refusals - codes.keys(), codes


def test_a_gap_is_held_for_a_few_blocks(chain: Chain) -> None:
    pool = Mempool(chain.reader(), chain.chain_id, chain.signatures)
    ahead = order(key("a1"), 1, Transfer(key("a0").address, Amount(1)), max_fee=90_000)
    pool.add(ahead.encoded)
    for passed in range(1, ROOM.gap_blocks + 1):
        assert pool.ids() == (ahead.id,), passed
        block = build(chain)
        chain.commit(block.hash, None)
        pool.on_commit(block, chain.reader())
    assert pool.ids() == ()
    first = order(key("a1"), 0, Transfer(key("a0").address, Amount(1)), max_fee=90_000)
    pool.add(ahead.encoded)
    pool.add(first.encoded)
    for _ in range(ROOM.gap_blocks + 1):  # filled, it waits for as long as it is good
        block = build(chain)
        chain.commit(block.hash, None)
        pool.on_commit(block, chain.reader())
    assert set(pool.ids()) == {first.id, ahead.id}
