"""Locked money: what a holder can take out and when, against a model in fractions, and the ways round the lock."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol.bodies import (
    BodyBase,
    CampaignOpen,
    SessionKeyAdd,
    StakeAdd,
    Transfer,
    VaultGrant,
    VaultWithdraw,
)
from omnitensor.protocol.rows import vested
from omnitensor.protocol.types import Address, Amount, Height, PublicKey, TimeMs
from state.ledger.accounts import account
from state.ledger.errors import Unpayable
from state.ledger.prepared import prepare
from state.ledger.transition import check_payable
from state.records import Vault
from state.schema import VAULTS, VAULTS_BY_HOLDER
from tests.ledger.world import OMNIT, SPEC, World, address_of, key_of

DAY = 24 * 60 * 60 * 1_000
START = 1_000_000  # of the test chain's clock, which goes by a second a block


def grant(
    holder: str, amount: int, start: int = 0, cliff: int | None = None, end: int = 100, **changes: int
) -> VaultGrant:
    """A grant over seconds of the test chain, from ``start`` to ``end``."""
    first = START + 1_000 * start
    made = VaultGrant(
        address_of(holder),
        Amount(amount),
        TimeMs(first),
        TimeMs(first if cliff is None else START + 1_000 * cliff),
        TimeMs(START + 1_000 * end),
    )
    return replace(made, **changes)


def made_by(world: World, giver: str, body: VaultGrant) -> Address:
    receipt = world.do(giver, body)
    assert receipt.ok, receipt
    vault = dict(receipt.events[0].fields)["vault"]
    assert isinstance(vault, bytes)
    return Address(vault)


def test_a_grant_opens_with_time() -> None:
    world = World()
    before = world.balance("ann")
    vault = made_by(world, "ann", grant("ben", 1_000, start=0, cliff=20, end=100))
    assert world.balance("ann") < before - 1_000
    assert account(world.view, vault).balance == 1_000
    assert [key[33:] for key, _ in world.view.scan(VAULTS_BY_HOLDER)] == [vault]
    world.blocks(18 - world.height)
    assert world.do("ben", VaultWithdraw(vault, Amount(1))).code == "vault_locked"  # second 19
    held = world.balance("ben")
    receipt = world.do("ben", VaultWithdraw(vault, Amount(200)))  # second 20: a fifth, at once
    assert receipt.ok
    assert world.balance("ben") == held + 200 - receipt.fee - receipt.tip
    assert world.do("ben", VaultWithdraw(vault, Amount(20))).code == "vault_locked"  # 10 more by then
    assert world.do("ben", VaultWithdraw(vault, Amount(20))).ok
    world.blocks(110 - world.height)
    assert world.do("ben", VaultWithdraw(vault, Amount(781))).code == "vault_locked"
    assert world.do("ben", VaultWithdraw(vault, Amount(780))).ok
    assert account(world.view, vault).balance == 0
    row = world.view.get(VAULTS, vault)
    assert row is not None
    assert (row.withdrawn, row.total) == (1_000, 1_000)
    assert world.replayed() == world.base.encoded


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (grant("ben", 0), "amount"),
        (grant("ben", 10**9 * OMNIT), "balance"),
        (grant("ben", 5, start=10, end=10), "schedule"),
        (grant("ben", 5, start=10, cliff=9), "schedule"),
        (grant("ben", 5, cliff=101), "schedule"),
        (grant("ben", 5, start=-50, end=0), "schedule"),
        (grant("ben", 5, end_ms=START + 101 * 366 * DAY), "schedule"),
        (replace(grant("ben", 5), holder=Address(b"\2" + bytes(32))), "address"),
        (replace(grant("ben", 5), holder=Address(b"\7" + bytes(32))), "address"),
    ],
)
def test_wrong_grants_are_refused(body: VaultGrant, code: str) -> None:
    world = World(check_every_transaction=True)
    assert world.do("ann", body).code == code
    assert not list(world.view.scan(VAULTS))


def test_only_the_holder_withdraws() -> None:
    world = World(check_every_transaction=True)
    vault = made_by(world, "ann", grant("ben", 1_000, end=2))
    world.blocks(5)
    for who in ("ann", "cyd"):
        assert world.do(who, VaultWithdraw(vault, Amount(1))).code == "vault_unknown"
    assert world.do("ben", VaultWithdraw(Address(b"\2" + bytes(32)), Amount(1))).code == "vault_unknown"
    for amount in (0, 1_001):
        assert world.do("ben", VaultWithdraw(vault, Amount(amount))).code == "vault_locked"
    assert world.do("ben", VaultWithdraw(vault, Amount(1_000))).ok


LOCKED = 500_000 * OMNIT


@pytest.mark.parametrize(
    "body",
    [
        Transfer(address_of("dan"), Amount(OMNIT)),
        CampaignOpen(SPEC, Amount(100 * OMNIT)),
        StakeAdd(Amount(OMNIT)),
        grant("dan", OMNIT, end=5_000),
        SessionKeyAdd(key_of("script"), 3, Height(500), Amount(10**12)),
    ],
)
def test_locked_money_pays_for_nothing(body: BodyBase) -> None:
    """A holder with locked money alone can neither pay a fee nor put up anything; nor can anybody sign for the vault."""
    world = World()
    vault = made_by(world, "ann", replace(grant("poor", LOCKED, end=4_000), holder=address_of("poor")))
    ctx = world.context(world.height + 1)
    with pytest.raises(Unpayable) as refusal:
        check_payable(world.view, ctx, prepare(world.order("poor", body)))
    assert refusal.value.code == "balance"
    for signer in (key_of("poor"), PublicKey(vault[1:])):
        order = world.order("ghost", body, sender=vault, nonce=0, signer=signer)
        with pytest.raises(Unpayable) as refusal:
            check_payable(world.view, ctx, prepare(order))
        assert refusal.value.code == "address"
    assert account(world.view, vault).balance == LOCKED


def test_nobody_pays_into_a_vault_by_mistake() -> None:
    world = World()
    vault = made_by(world, "ann", grant("ben", 10, end=50))
    assert world.do("cyd", Transfer(vault, Amount(5))).code == "address"


def test_random_histories_against_a_model_in_fractions() -> None:
    """Many grants, many attempts: nobody ever has out more than the model's share, and what it allows is given."""
    chance, world = random.Random(11), World()
    model: dict[Address, tuple[str, int, int, int, int]] = {}
    taken: dict[Address, int] = {}
    codes: dict[str, int] = {}
    for _ in range(260):
        now = START + 1_000 * (world.height + 1)
        if not model or chance.random() < 0.15:
            start, length = world.height + chance.randrange(-30, 30), chance.randrange(1, 120)
            body = grant(
                chance.choice(["ben", "cyd", "dan"]),
                chance.choice([1, 7, 999, OMNIT, 10**4 * OMNIT]),
                start,
                start + chance.randrange(0, length + 1),
                start + length,
            )
            receipt = world.do("ann", body)
            if body.end_ms <= now:
                assert receipt.code == "schedule"
                continue
            vault = Address(dict(receipt.events[0].fields)["vault"])  # type: ignore[arg-type] # an address
            model[vault] = (
                world.name_of(body.holder),
                body.amount,
                body.start_ms,
                body.cliff_ms,
                body.end_ms,
            )
            taken[vault] = 0
            continue
        vault = chance.choice(sorted(model))
        holder, total, first, cliff, end = model[vault]
        passed = Fraction(min(now, end) - first, end - first)
        open_now = int(total * passed) if now >= cliff else 0
        amount = max(0, open_now - taken[vault] + chance.choice([-5, -1, 0, 0, 1, 5, total]))
        expected = "ok" if 0 < amount <= open_now - taken[vault] else "vault_locked"
        receipt = world.do(holder, VaultWithdraw(vault, Amount(amount)))
        assert receipt.code == expected, (amount, open_now, taken[vault])
        codes[receipt.code] = codes.get(receipt.code, 0) + 1
        if receipt.ok:
            taken[vault] += amount
        assert account(world.view, vault).balance == total - taken[vault]
    assert min(codes["ok"], codes["vault_locked"]) > 30, codes
    assert world.replayed() == world.base.encoded


@given(
    total=st.integers(1, 10**18),
    start=st.integers(0, 2**45),
    cliff=st.integers(0, 2**35),
    rest=st.integers(1, 2**35),
    times=st.lists(st.integers(0, 2**46), min_size=2, max_size=6),
)
def test_vesting_never_goes_back_and_ends_whole(
    total: int, start: int, cliff: int, rest: int, times: list[int]
) -> None:
    end = start + cliff + rest
    vault = Vault(
        address_of("ben"),
        address_of("ann"),
        Amount(total),
        TimeMs(start),
        TimeMs(start + cliff),
        TimeMs(end),
        0,
    )
    shares = [vested(vault, now) for now in sorted(times)]
    assert shares == sorted(shares)
    for now, share in zip(sorted(times), shares, strict=True):
        exact = Fraction(total * (now - start), end - start)
        if now < start + cliff:
            assert share == 0
        elif now >= end:
            assert share == total
        else:
            assert share <= exact < share + 1
