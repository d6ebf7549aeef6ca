"""Solana: one validator in two instances (2022); a block that was never done being processed (2024)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from consensus.stake.events import VoteReceived
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.bodies import StakeWithdraw, Transfer
from omnitensor.protocol.codec import Record
from omnitensor.protocol.errors import BlockError
from omnitensor.protocol.params import Params
from omnitensor.protocol.transactions import WEIGHT_BASE
from omnitensor.protocol.types import Amount, View
from omnitensor.protocol.votes import VoteKind
from state.chain import Chain
from state.execution import Tip
from state.ledger import validators
from state.ledger.prepared import Prepared
from state.overlay import Overlay
from state.schema import UNBONDING, Table
from tests.consensus.bench_core import INTERVAL_MS
from tests.consensus.worlds import Workshop
from tests.ledger.world import OMNIT, QUICK, World, address_of
from tests.lessons.workbench import Validator, contradictions
from tests.simulation.scenario import Scenario
from tests.simulation.world import World as Simulation
from tests.state.chain_fixtures import build, key, make_genesis, order

V = TypeVar("V", bound=Record)
N = VoteKind.NOTARIZE
SHOP = Workshop()
LEADER = SHOP.schedule.leader(View(1))


# -- 2022


@pytest.mark.parametrize("seed", range(6))
def test_solana_2022_two_instances_of_one_validator_stop_nobody(seed: int) -> None:
    """Both vote with one key, each with a record of its own, through loss, partitions and crashes: no fork, and blocks go on."""
    scenario = Scenario(
        seed=seed,
        weights=(10, 10, 10, 10),
        byzantine={seed % 4: "twin"},
        loss=0.05,
        partition_chance=0.1,
        crash_chance=0.1,
        chaos_ms=8_000,
    )
    outcome = Simulation(scenario).run()
    assert not outcome.violations, outcome.violations[0]
    assert outcome.height >= 3


def test_solana_2022_the_second_instance_stops_and_the_first_recovers(tmp_path: Path) -> None:
    """Two processes lead one view with one key. Whoever hears the other stops and says why; one, started alone, goes on."""
    blocks = [SHOP.child(1, salt=salt) for salt in range(2)]
    twins = [Validator(LEADER, SHOP, tmp_path / str(number), new=True) for number in range(2)]
    for twin, (candidate, block) in zip(twins, blocks, strict=True):
        twin.begin()
        twin.tick(INTERVAL_MS)
        twin.built(1, block)
        assert [(kind, named) for kind, _, named in twin.signed] == [(N, bytes(candidate.id))]
    first, second = twins
    second.do(VoteReceived(second.now, "peer", SHOP.vote(N, 1, blocks[0][0].id, LEADER)))
    assert "Another process uses its key" in second.halted
    assert "start one" in second.halted
    for twin in twins:
        twin.kill()
    # The operator does as the report says: one of them, with its own record, and never the other.
    alone = Validator(LEADER, SHOP, tmp_path / "0", new=False)
    alone.begin()
    candidate, _ = blocks[0]
    others = tuple(index for index in range(4) if index != LEADER)
    alone.votes(N, 1, candidate.id, others[:2])
    alone.checked(candidate)
    assert alone.core.view == 2
    alone.votes(VoteKind.FINALIZE, 1, candidate.id, others[:2])
    assert alone.core.final.view == 1
    assert not alone.halted
    assert contradictions([*first.signed, *alone.signed]) == []
    alone.kill()


# -- 2024


def pay(sender: str, nonce: int) -> Prepared:
    return order(key(sender), nonce, Transfer(key("a1").address, Amount(1)))


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Chain]:
    made = Chain.create(tmp_path / "small", make_genesis(params=params_of(100_000)))
    yield made
    made.close()


def params_of(weight_max: int) -> Params:
    return replace(Params(), block_weight_max=weight_max, block_weight_target=weight_max // 2)


def test_solana_2024_a_block_does_no_more_work_than_its_weight_allows(
    small: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder stops at the limit; a leader that does not stop has its block refused before it is executed to its end."""
    orders = [pay("a0", nonce) for nonce in range(400)]
    block = build(small, orders)
    assert block.header.weight_used <= 100_000
    assert 0 < len(block.transactions) < len(orders)
    each = orders[0].weight
    assert each >= WEIGHT_BASE
    assert (len(block.transactions) + 1) * each > 100_000, "it fills what it may"
    greedy = Chain.create(tmp_path / "greedy", make_genesis(params=params_of(100_000)))
    try:
        # The same genesis, and rules of its own about how much is enough.
        with monkeypatch.context() as patch:
            patch.setattr(Tip, "params", property(lambda _: params_of(1_000_000)))
            over = build(greedy, orders)
        assert over.header.weight_used > 100_000
    finally:
        greedy.close()
    with pytest.raises(BlockError, match="does not fit into the block"):
        small.check(over)
    small.check(block)


def test_solana_2024_a_transaction_weighs_what_it_can_make_a_node_do() -> None:
    """No order weighs less than its signature and bytes, and each more byte weighs more."""
    short = pay("a0", 0)
    long = order(key("a0"), 2**40, Transfer(key("a1").address, Amount(2**50)))
    assert short.weight >= WEIGHT_BASE + len(short.encoded)
    assert long.weight - short.weight == len(long.encoded) - len(short.encoded)


def test_solana_2024_what_falls_due_at_once_is_done_over_several_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every withdrawal is due in one block: each block pays so many and looks at one more, and in the end all are paid."""
    monkeypatch.setattr(limits, "unbonding_paid_per_block_max", 3)
    world = World(validators=5, params=replace(QUICK, unbonding_blocks=4), check_every_block=False)
    names = list(world.validator_names)
    for name in names:
        for _ in range(2):
            world.send(name, StakeWithdraw(Amount(1_000 * OMNIT)))
    assert {receipt.code for receipt in world.block().result.receipts} == {"ok"}
    world.blocks(3)
    left, looks = [], []
    for _ in range(5):
        world.view = counted = Counted(world.base)
        world.block()
        looks.append(counted.looks)
        left.append(len(list(world.view.scan(UNBONDING))))
    assert left == [7, 4, 1, 0, 0]
    assert max(looks) <= 3 + 1
    for name in names:
        row = validators.validator(world.view, address_of(name))
        assert row is not None
        assert row.unbonding == 0


class Counted(Overlay):
    """Counts the withdrawals that are looked at in a scan."""

    looks = 0

    def scan(self, table: Table[V], *parts: Any, **how: Any) -> Iterator[tuple[bytes, V]]:
        for found in super().scan(table, *parts, **how):
            self.looks += table is UNBONDING
            yield found


def test_solana_2024_a_body_larger_than_a_block_is_refused(small: Chain) -> None:
    block = build(small, [pay("a0", 0)])
    crowd = Block(block.header, block.transactions * (limits.block_transactions_max + 1))
    with pytest.raises(BlockError):
        small.check(crowd)
