"""Delegation: every kind, right and wrong, slashes that follow stake wherever it went, and attacks on shares and rounding."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.bodies import Delegate, StakeWithdraw, ValidatorRegister
from omnitensor.protocol.types import Amount, Epoch
from state.ledger import admission, delegations, epochs, pools, removal
from state.ledger.accounts import Pot
from state.overlay import Overlay
from state.schema import (
    DELEGATIONS_BY_VALIDATOR,
    MATURITIES,
    REDELEGATIONS,
    REWARD_INDEXES,
    UNDELEGATIONS,
    VALIDATORS,
)
from tests.ledger.stakes import SLOW, Stakes, whole
from tests.ledger.world import OMNIT, address_of


def test_delegated_stake_weighs_from_the_next_epoch_on() -> None:
    chain = Stakes()
    assert chain.delegate("ann", "val0", whole(50_000)) == "ok"
    assert chain.row("val0").delegated == whole(50_000)
    before = {entry.address: entry.weight for entry in epochs.table_of(chain.view, Epoch(0)).entries}  # type: ignore[union-attr]  # it is there
    assert before[address_of("val0")] == 100_000
    chain.to_boundary()
    after = {entry.address: entry.weight for entry in epochs.table_of(chain.view, Epoch(1)).entries}  # type: ignore[union-attr]  # it is there
    assert after[address_of("val0")] == 150_000
    assert after[address_of("val1")] == 100_000


def test_undelegating_pays_after_the_unbonding_time() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(100))
    balance = chain.balance("ann")
    receipt = chain.do("ann", delegations.Undelegate(address_of("val0"), Amount(whole(40))))
    assert receipt.ok
    due = chain.height + SLOW.unbonding_blocks
    assert chain.row("val0").delegated == whole(60)
    assert chain.row("val0").leaving == whole(40)
    chain.pass_epochs(3)
    chain.height = due - 2
    chain.block()
    assert chain.balance("ann") == balance - receipt.fee - receipt.tip
    chain.block()
    assert chain.balance("ann") == balance - receipt.fee - receipt.tip + whole(40)
    assert chain.row("val0").leaving == chain.row("val0").leaving_count == 0
    assert chain.undelegate("ann", "val0") == "ok"
    assert chain.delegation("ann", "val0") is None
    assert not list(chain.view.scan(DELEGATIONS_BY_VALIDATOR))
    chain.pass_epochs(4)
    assert not list(chain.view.scan(UNDELEGATIONS))
    assert not list(chain.view.scan(MATURITIES))
    assert not list(chain.view.scan(REWARD_INDEXES))


def test_what_is_refused() -> None:
    chain = Stakes(4)
    assert chain.delegate("ann", "ben", whole(1)) == "validator_unknown"
    assert chain.delegate("val0", "val0", whole(1)) == "delegation_own"
    assert chain.delegate("ann", "val0", OMNIT - 1) == "delegation_min"
    assert chain.delegate("ann", "val0", 0) == "delegation_min"
    assert chain.delegate("ann", "val0", whole(100_000_000)) == "balance"
    assert chain.undelegate("ann", "val0", 1) == "delegation_unknown"
    assert chain.redelegate("ann", "val0", "val1") == "delegation_unknown"
    assert chain.redelegate("ann", "val0", "val0") == "redelegation_same"
    assert chain.claim("ann", "val0") == "delegation_unknown"
    assert chain.claim("ann", "ann") == "rewards_none"
    assert chain.delegate("ann", "val0", whole(10)) == "ok"
    assert chain.delegate("ann", "val0", 0) == "amount"
    assert chain.delegate("ann", "val0", 1) == "ok", "an addition may be small"
    assert chain.undelegate("ann", "val0", whole(11)) == "delegation"
    assert chain.undelegate("ann", "val0", 0) == "delegation"
    assert chain.undelegate("ann", "val0", whole(10) - 5) == "delegation_min"
    assert chain.claim("ann", "val0") == "rewards_none"
    assert chain.redelegate("ann", "val0", "ben") == "validator_unknown"
    assert chain.redelegate("ann", "val0", "val1", whole(10) + 1) == "ok", "everything, named"
    assert chain.redelegate("ann", "val1", "val2") == "redelegation_under_way"
    assert chain.redelegate("ann", "val1", "val2", whole(1)) == "redelegation_under_way"
    assert chain.delegate("ann", "val1", whole(5)) == "ok"
    assert chain.redelegate("ann", "val1", "val2", whole(6)) == "delegation"
    assert chain.redelegate("ann", "val1", "val2") == "ok", "what did not come by redelegation may go"
    chain.pass_epochs(5)
    assert chain.redelegate("ann", "val1", "val3") == "ok", "it has landed"


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "delegations_per_account_max", 2)
    monkeypatch.setattr(limits, "undelegations_per_delegation_max", 2)
    monkeypatch.setattr(limits, "redelegations_per_delegation_max", 2)
    monkeypatch.setattr(limits, "maturities_per_block_max", 1)
    chain = Stakes(4)
    assert chain.delegate("ann", "val0", whole(100)) == "ok"
    assert chain.delegate("ann", "val1", whole(100)) == "ok"
    assert chain.delegate("ann", "val2", whole(100)) == "delegation_limit"
    assert chain.redelegate("ann", "val0", "val2", whole(10)) == "delegation_limit"
    assert [chain.redelegate("ann", "val0", "val1", whole(10)) for _ in range(3)] == [
        "ok",
        "ok",
        "redelegation_limit",
    ]
    assert [chain.undelegate("ann", "val0", whole(10)) for _ in range(3)] == [
        "ok",
        "ok",
        "undelegation_limit",
    ]
    waiting = len(list(chain.view.scan(MATURITIES)))
    assert waiting == 4
    chain.height += SLOW.unbonding_blocks
    for left in (3, 2, 1, 0):
        chain.block()
        assert len(list(chain.view.scan(MATURITIES))) == left


def test_a_slash_takes_the_same_share_of_everything() -> None:
    chain = Stakes()
    for who, amount in (("ann", 1_000), ("ben", 3_000)):
        chain.delegate(who, "val0", whole(amount))
    chain.undelegate("ben", "val0", whole(1_000))
    chain.do("val0", StakeWithdraw(Amount(whole(20_000))))
    taken = chain.slash("val0", 500)
    assert taken == whole(104_000) // 20
    row = chain.row("val0")
    assert (row.stake, row.unbonding) == (whole(76_000), whole(19_000))
    assert (row.delegated, row.leaving) == (whole(2_850), whole(950))
    assert chain.undelegate("ann", "val0", whole(951)) == "delegation"
    ann, ben = chain.balance("ann"), chain.balance("ben")
    chain.undelegate("ann", "val0")
    chain.pass_epochs(5)
    assert chain.balance("ben") - ben == whole(950)
    assert whole(949) < chain.balance("ann") - ann <= whole(950)


def test_a_slash_follows_redelegated_stake_until_it_lands() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.redelegate("ann", "val0", "val1")
    chain.slash("val0", 1_000)
    assert chain.row("val1").delegated == whole(1_000), "nobody looked at it yet"
    burned = chain.pot(Pot.BURNED)
    chain.undelegate("ann", "val1", whole(10))
    assert chain.row("val1").delegated == whole(890)
    assert chain.row("val1").leaving == whole(10)
    assert chain.pot(Pot.BURNED) - burned >= whole(50)
    chain.slash("val0", 1_000)
    before = chain.balance("ann")
    chain.pass_epochs(5)
    assert chain.row("val1").delegated == whole(801), "the rest when it landed"
    assert chain.balance("ann") - before > whole(9), "rewards apart, the undelegation too was cut"
    assert chain.balance("ann") - before < whole(9) + OMNIT
    assert not list(chain.view.scan(REDELEGATIONS))
    chain.slash("val0", 1_000)
    chain.undelegate("ann", "val1", whole(1))
    assert chain.row("val1").delegated == whole(800), "what landed is free of its source"


def test_redelegated_stake_answers_for_both_validators() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.redelegate("ann", "val0", "val1")
    chain.slash("val1", 5_000)
    chain.slash("val0", 5_000)
    chain.undelegate("ann", "val1")
    assert chain.row("val1").leaving == whole(250)
    chain.slash("val1", 5_000)
    chain.slash("val0", 10_000)
    before = chain.balance("ann")
    chain.pass_epochs(5)
    assert chain.balance("ann") == before, "nothing of it was left"
    assert chain.row("val1").leaving == 0


def test_a_removed_validator_gives_delegations_back() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    removal.begin(chain.view, address_of("val0"))
    chain.block()
    assert chain.row("val0").removed
    assert chain.delegate("ben", "val0", whole(10)) == "validator_removed"
    assert chain.redelegate("ann", "val0", "val1", whole(500)) == "ok"
    assert chain.undelegate("ann", "val0") == "ok"
    before = chain.balance("ann")
    chain.pass_epochs(5)
    assert chain.balance("ann") - before >= whole(500)


# -- attacks


def test_nothing_is_delegated_to_what_was_slashed_away() -> None:
    chain = Stakes()
    chain.delegate("ann", "val0", whole(1_000))
    chain.slash("val0", 10_000)
    row = chain.row("val0")
    assert row.delegated == 0
    assert row.shares == whole(1_000)
    assert chain.delegate("ben", "val0", whole(10)) == "validator_depleted"
    assert chain.delegate("ann", "val0", whole(10)) == "validator_depleted"
    assert chain.redelegate("ann", "val0", "val1") == "delegation_min"
    assert chain.undelegate("ann", "val0") == "ok", "worth nothing, and gone"
    assert chain.delegate("ben", "val0", whole(10)) == "ok"
    assert chain.row("val0").shares == whole(10)


def test_shares_fit_their_rows_however_often_a_validator_is_slashed() -> None:
    chain = Stakes(balance_each=100_000_000 * OMNIT)
    for _ in range(12):
        if chain.delegate("ann", "val0", whole(7_000_000)) == "validator_depleted":
            break
        chain.slash("val0", 7_000)
        row = chain.row("val0")
        assert row.shares < 2**64
    else:
        raise AssertionError("it always takes more")


def test_the_first_delegator_can_not_inflate_its_share() -> None:
    """Shares are worth a unit or less each, so that an amount never rounds to no share, whatever came before."""
    chain = Stakes(params=replace(SLOW, delegation_min=Amount(1)))
    chain.delegate("ann", "val0", 1)
    chain.pass_epochs(2)
    chain.delegate("ben", "val0", whole(5))
    assert chain.delegation("ben", "val0").shares == whole(5)  # type: ignore[union-attr]  # it is there
    chain.slash("val0", 333)
    chain.delegate("cyd", "val0", 7)
    assert pools.worth(chain.row("val0"), chain.delegation("cyd", "val0").shares) in (6, 7)  # type: ignore[union-attr]  # it is there


@pytest.mark.parametrize("steps", ["delegate", "undelegate", "redelegate"])
def test_many_small_steps_gain_nothing(steps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding is always for those who stay: who goes in and out by a few units a time takes nothing from them."""
    monkeypatch.setattr(limits, "undelegations_per_delegation_max", 100)
    monkeypatch.setattr(limits, "redelegations_per_delegation_max", 100)
    chain = Stakes(params=replace(SLOW, delegation_min=Amount(1)))
    chain.delegate("ann", "val0", whole(10))
    chain.delegate("ben", "val0", 1_000)
    chain.slash("val0", 333)
    worth = worth_of(chain, "ann", "val0")
    for _ in range(40):
        match steps:
            case "delegate":
                assert chain.delegate("ben", "val0", 11) == "ok"
            case "undelegate":
                assert chain.undelegate("ben", "val0", 3) == "ok"
            case _:
                assert chain.redelegate("ben", "val0", "val1", 3) == "ok"
    assert worth_of(chain, "ann", "val0") >= worth
    spent = 40 * 11 if steps == "delegate" else -40 * 3
    assert worth_of(chain, "ben", "val0") <= 1_000 - 33 + spent


def worth_of(chain: Stakes, who: str, validator: str) -> int:
    held = chain.delegation(who, validator)
    return pools.worth(chain.row(validator), held.shares) if held else 0


def test_admission_by_governance() -> None:
    chain = Stakes(params=replace(SLOW, validator_admission=1))
    body = ValidatorRegister(Amount(whole(40_000)), b"k" * 48, b"p" * 96, 0, "new")  # type: ignore[arg-type]  # of the right length
    assert chain.code("ann", body) == "validator_not_admitted"
    admission.admit(chain.view, address_of("ann"))
    assert chain.code("ann", body) == "possession", "which is looked at after admission"
    admission.dismiss(chain.view, address_of("ann"))
    assert chain.code("ann", body) == "validator_not_admitted"


def test_commission_rises_in_steps() -> None:
    chain = Stakes()
    chain.height = SLOW.commission_wait_blocks
    assert chain.set_commission("val0", 101) == "commission_step"
    assert chain.set_commission("val0", 100) == "ok"
    assert chain.set_commission("val0", 101) == "commission_wait"
    assert chain.set_commission("val0", 30) == "ok", "down at any time"
    assert chain.set_commission("val0", 31) == "commission_wait"
    chain.height += SLOW.commission_wait_blocks
    assert chain.set_commission("val0", 130) == "ok"


def test_a_delegation_can_be_made_by_its_own_key_alone() -> None:
    assert Delegate.SCOPE is None


def test_whoever_lost_a_validator_row_can_not_be_slashed() -> None:
    chain = Stakes()
    with pytest.raises(AssertionError):
        chain.slash("ann", 100)
    assert chain.view.get(VALIDATORS, address_of("ann")) is None
    assert isinstance(chain.view, Overlay)
