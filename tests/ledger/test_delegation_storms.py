"""Delegation under slashes of any size, in amounts from one unit to millions: the books are summed after each block and slash."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace

from omnitensor.protocol.types import Amount
from state.ledger.supply import check_everything
from state.schema import DELEGATIONS, MATURITIES, REWARD_INDEXES
from tests.ledger.stakes import SLOW, Stakes, whole
from tests.ledger.world import OMNIT

PEOPLE = ("ann", "ben", "cyd", "dan")


def some_amount(chance: random.Random) -> int:
    return chance.choice(
        [1, 2, 3, 7, OMNIT, chance.randrange(1, 10**6), whole(chance.randrange(1, 5_000_000))]
    )


def act(chain: Stakes, chance: random.Random) -> None:
    who, validator, other = chance.choice(PEOPLE), *chance.choices(chain.validator_names, k=2)
    match chance.randrange(10):
        case 0 | 1 | 2:
            chain.delegate(who, validator, some_amount(chance))
        case 3 | 4:
            chain.undelegate(who, validator, chance.choice([None, some_amount(chance)]))
        case 5 | 6:
            chain.redelegate(who, validator, other, chance.choice([None, some_amount(chance)]))
        case 7:
            chain.claim(who, validator)
        case 8 if chance.random() < 0.5:
            chain.slash(validator, chance.choice([1, 500, 5_000, 9_000, 9_999, 10_000]))
            check_everything(chain.view)
        case _:
            chain.blocks(chance.randrange(15))


@pytest.mark.parametrize("seed", range(4))
def test_the_books_hold_in_any_storm(seed: int) -> None:
    chance = random.Random(seed)
    params = replace(
        SLOW,
        epoch_blocks=20,
        unbonding_blocks=60,
        delegation_min=Amount(chance.choice([1, 5, OMNIT])),
        validator_stake_min=Amount(OMNIT),
        reward_base_bps=2_000,
    )
    chain = Stakes(4, params, people=PEOPLE, balance_each=20_000_000 * OMNIT)
    for _ in range(300):
        act(chain, chance)
    # Whoever wants to leave can, whatever happened, and nothing is left behind.
    for who in PEOPLE:
        for validator in chain.validator_names:
            chain.undelegate(who, validator)
    chain.blocks(70)
    for validator in chain.validator_names:
        row = chain.row(validator)
        assert (row.delegated, row.shares, row.leaving, row.leaving_count) == (0, 0, 0, 0)
    for table in (DELEGATIONS, MATURITIES, REWARD_INDEXES):
        assert not list(chain.view.scan(table))
