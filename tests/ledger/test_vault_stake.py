"""Staking what is locked: it comes back locked, what it earns is free, what is slashed is missing from the locked rest."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    Delegate,
    ProposalVote,
    Redelegate,
    RewardsClaim,
    Transfer,
    Undelegate,
    VaultExecute,
    VaultGrant,
    VaultWithdraw,
)
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.types import Address, Amount, TimeMs
from state.ledger import slashing
from state.ledger.accounts import Pot, account, burn, pot
from state.ledger.pools import worth
from state.schema import DELEGATIONS, UNDELEGATIONS, VALIDATORS, VAULTS
from tests.ledger.test_vaults import START, made_by
from tests.ledger.world import OMNIT, QUICK, World, address_of

PARAMS = replace(QUICK, epoch_blocks=10, unbonding_blocks=25, evidence_epochs=1)
TOTAL = 1_000 * OMNIT
VAL = [address_of(f"val{n}") for n in range(3)]


def world_with_vault(end: int = 200) -> tuple[World, Address]:
    world = World(params=PARAMS)
    schedule = (TimeMs(START), TimeMs(START), TimeMs(START + 1_000 * end))
    return world, made_by(world, "ann", VaultGrant(address_of("ben"), Amount(TOTAL), *schedule))


def at_stake(world: World, vault: Address) -> int:
    """What a vault has delegated or on its way back."""
    held = 0
    for key, row in world.view.scan(DELEGATIONS, vault):
        validator = world.view.get(VALIDATORS, key)
        assert validator is not None
        held += worth(validator, row.shares)
    return held + sum(row.amount for _, row in world.view.scan(UNDELEGATIONS, vault))


def kept(world: World, vault: Address) -> int:
    """Rewards that came when a redelegation landed: they stay with the vault until its end."""
    claimed = sum(int(one["amount"]) for one in world.said("reward.claimed") if one["account"] == vault)
    return claimed - sum(int(one["amount"]) for one in world.said("vault.earned"))


def free(world: World, now: int, taken: int, end: int = 200) -> int:
    """What the model lets out by now."""
    return int(TOTAL * Fraction(min(now, START + 1_000 * end) - START, 1_000 * end)) - taken


def test_stake_goes_and_comes_back_locked() -> None:
    world, vault = world_with_vault()
    receipt = world.do("ben", VaultExecute(vault, Delegate(VAL[0], Amount(TOTAL))))
    assert receipt.ok, receipt
    assert [event.kind for event in receipt.events][:2] == ["vault.executed", "stake.delegated"]
    assert (account(world.view, vault).balance, at_stake(world, vault)) == (0, TOTAL)
    assert world.do("ben", VaultWithdraw(vault, Amount(1))).code == "vault_locked", "it is not there"
    assert world.do("ben", VaultExecute(vault, Undelegate(VAL[0], None))).ok
    world.blocks(30)
    assert account(world.view, vault).balance == TOTAL
    now = START + 1_000 * (world.height + 1)
    room = free(world, now, 0)
    assert world.do("ben", VaultWithdraw(vault, Amount(room + 6 * OMNIT))).code == "vault_locked"
    assert world.do("ben", VaultWithdraw(vault, Amount(room))).ok
    assert world.replayed() == world.base.encoded


def test_what_stake_earns_is_the_holders_at_once() -> None:
    world, vault = world_with_vault(end=100_000)
    assert world.do("ben", VaultExecute(vault, Delegate(VAL[0], Amount(TOTAL)))).ok
    world.blocks(40)
    before = world.balance("ben")
    receipt = world.do("ben", VaultExecute(vault, RewardsClaim((VAL[0],))))
    assert receipt.ok, receipt
    said = {event.kind: dict(event.fields) for event in receipt.events}
    earned = said["reward.claimed"]["amount"]
    assert isinstance(earned, int)
    assert earned > 0
    assert said["vault.earned"]["amount"] == earned
    assert world.balance("ben") == before + earned - receipt.fee - receipt.tip
    assert account(world.view, vault).balance == 0
    assert at_stake(world, vault) == TOTAL
    # Delegating again settles rewards on the way: they leave, what was locked does not.
    world.blocks(20)
    receipt = world.do("ben", VaultExecute(vault, Undelegate(VAL[0], Amount(TOTAL // 2))))
    assert receipt.ok
    assert account(world.view, vault).balance == 0


def test_only_the_holder_orders_and_only_what_is_for_stake() -> None:
    world, vault = world_with_vault()
    world.check_every_transaction = True
    order = VaultExecute(vault, Delegate(VAL[0], Amount(OMNIT)))
    assert world.do("ann", order).code == "vault_unknown"
    assert world.do("ben", VaultExecute(Address(b"\2" + bytes(32)), order.order)).code == "vault_unknown"
    assert world.do("ben", VaultExecute(vault, Delegate(VAL[0], Amount(TOTAL + 1)))).code == "balance"
    assert world.do("ben", VaultExecute(vault, Undelegate(VAL[0], None))).code == "delegation_unknown"
    assert world.do("ben", VaultExecute(vault, ProposalVote(7, 0))).code == "proposal_unknown"  # type: ignore[arg-type] # an id
    with pytest.raises(CodecError):
        forged = VaultExecute(vault, Transfer(address_of("ben"), Amount(1)))  # type: ignore[arg-type] # as a stranger might
        decode(VaultExecute, encode(forged))
    with pytest.raises(CodecError):
        decode(VaultExecute, encode(VaultExecute(vault, order)))  # type: ignore[arg-type] # no nesting


@pytest.mark.parametrize("seed", range(6))
def test_no_round_trip_frees_what_is_locked(seed: int) -> None:
    """Random delegating, moving, taking back, slashing and withdrawing: what came out never exceeds the schedule, nothing is lost
    but what was slashed, and in the end all that is left comes out."""
    chance, is_slashed = random.Random(seed), bool(seed % 2)
    world, vault = world_with_vault(end=220)
    taken = orders = 0
    for _ in range(170):
        now = START + 1_000 * (world.height + 1)
        pick = chance.random()
        amount = Amount(chance.choice([1, 7 * OMNIT, 100 * OMNIT, TOTAL]))
        if pick < 0.3:
            body = VaultExecute(vault, Delegate(chance.choice(VAL), amount))
        elif pick < 0.5:
            body = VaultExecute(vault, Undelegate(chance.choice(VAL), chance.choice([None, amount])))
        elif pick < 0.6:
            source, target = chance.sample(VAL, 2)
            body = VaultExecute(vault, Redelegate(source, target, chance.choice([None, amount])))
        elif pick < 0.7:
            body = VaultExecute(vault, RewardsClaim((chance.choice(VAL),)))
        elif pick < 0.75:
            if not is_slashed:
                continue
            cut = slashing.slash(
                world.view, world.context(world.height), chance.choice(VAL), chance.choice([1, 500])
            )
            burn(world.view, Pot.STAKE, cut)
            world.block()
            continue
        else:
            room = free(world, now, taken, 220)
            wanted = chance.choice([room, room + 1, room // 2, TOTAL])
            receipt = world.do("ben", VaultWithdraw(vault, Amount(max(0, wanted))))
            if receipt.ok:
                taken += wanted
                assert wanted <= room
            continue
        orders += world.do("ben", body).ok
        rest = (
            TOTAL + kept(world, vault) - taken - account(world.view, vault).balance - at_stake(world, vault)
        )
        assert rest >= 0, "money from nowhere"
        assert is_slashed or rest <= 60, "whole, but for units that shares round away"
    assert orders > 20
    for validator in VAL:
        world.do("ben", VaultExecute(vault, Undelegate(validator, None)))
    world.blocks(80)
    row = world.view.get(VAULTS, vault)
    assert row is not None
    assert row.withdrawn == taken
    left = account(world.view, vault).balance
    lost = TOTAL + kept(world, vault) - taken - left
    assert lost > 0 if is_slashed else 0 <= lost <= 60
    if left:
        assert world.do("ben", VaultWithdraw(vault, Amount(left))).ok
    assert account(world.view, vault).balance == 0
    assert pot(world.view, Pot.ACCOUNTS) > 0
