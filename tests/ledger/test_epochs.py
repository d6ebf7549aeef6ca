"""Who votes in an epoch: the choice against an oracle of its own, boundaries, forgotten sets, edited validators."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import bls
from omnitensor.protocol.bodies import ValidatorEdit
from omnitensor.protocol.epochs import boundary_of, epoch_of, is_boundary
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Address, Amount, BlsPublicKey, Epoch, Hash, Height, TimeMs
from state.ledger import epochs, validators
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.overlay import DictBase, Overlay
from state.records import Validator
from state.schema import VALIDATOR_SETS, VALIDATORS, number


def address(number_: int) -> Address:
    return Address(b"\0" + number_.to_bytes(32, "big"))


def row(stake: int, key: int, jailed: bool = False) -> Validator:
    return Validator(
        Amount(stake),
        Amount(0),
        Amount(0),
        0,
        BlsPublicKey(key.to_bytes(48, "big")),
        0,
        "",
        jailed,
        Height(0),
    )


def context(height: int, params: Params) -> BlockContext:
    return BlockContext(
        "test",
        Height(height),
        epoch_of(Height(height), params),
        TimeMs(0),
        address(0),
        Hash(height.to_bytes(32, "big")),
        params,
        1,
    )


def state_of(rows: dict[Address, Validator]) -> Overlay:
    view = Overlay(DictBase())
    for who, validator in rows.items():
        view.put(VALIDATORS, validator, who)
    return view


registers = st.lists(
    st.tuples(st.integers(0, 6).map(lambda n: n * NANO + n % 2), st.booleans()), min_size=0, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(
    register=registers,
    order=st.randoms(use_true_random=False),
    most=st.integers(1, 5),
    least=st.integers(1, 4),
)
def test_choice_agrees_with_an_oracle(register: list[tuple[int, bool]], order, most: int, least: int) -> None:  # type: ignore[no-untyped-def]  # hypothesis' own random
    """The oracle takes the best one out of a pile, again and again, instead of sorting."""
    params = Params(validators_max=most, validator_stake_min=Amount(least * NANO))
    rows = {address(place): row(stake, place + 1, jailed) for place, (stake, jailed) in enumerate(register)}
    shuffled = list(rows.items())
    order.shuffle(shuffled)
    found = epochs.choose(state_of(dict(shuffled)), params)

    pile = [place for place, (stake, jailed) in enumerate(register) if not jailed and stake >= least * NANO]
    taken: list[int] = []
    while pile and len(taken) < most:
        best = pile[0]
        for place in pile:
            if register[place][0] > register[best][0]:
                best = place
        taken.append(best)
        pile.remove(best)
    assert [entry.address for entry in found] == [address(place) for place in sorted(taken)]
    assert [entry.weight for entry in found] == [register[place][0] // NANO for place in sorted(taken)]
    assert [int.from_bytes(entry.consensus_key, "big") for entry in found] == [p + 1 for p in sorted(taken)]


@given(blocks=st.integers(2, 1_000), height=st.integers(0, 10**6))
def test_every_height_is_in_one_epoch(blocks: int, height: int) -> None:
    params = Params(epoch_blocks=blocks)
    epoch = epoch_of(Height(height), params)
    assert (height == 0 and epoch == 0) or epoch * blocks < height <= boundary_of(epoch, params)
    assert is_boundary(Height(height), params) == (height > 0 and height == boundary_of(epoch, params))


PARAMS = Params(
    epoch_blocks=10,
    validators_max=3,
    validator_stake_min=Amount(NANO),
    evidence_epochs=3,
    commission_wait_blocks=3,
)


def started() -> Overlay:
    view = state_of({address(n): row((10 - n) * NANO, n + 1) for n in range(4)})
    epochs.begin(view, Epoch(0), Hash(bytes(32)), epochs.choose(view, PARAMS))
    return view


def test_the_set_changes_at_boundaries_alone() -> None:
    view = started()
    view.put(VALIDATORS, row(50 * NANO, 4), address(3))
    for height in range(1, 10):
        assert epochs.turn(view, context(height, PARAMS)) == ()
    assert epochs.table_of(view, Epoch(1)) is None
    (told,) = epochs.turn(view, context(10, PARAMS))
    before, after = epochs.table_of(view, Epoch(0)), epochs.table_of(view, Epoch(1))
    assert before is not None
    assert after is not None
    assert [entry.address for entry in before.entries] == [address(0), address(1), address(2)]
    assert [entry.address for entry in after.entries] == [address(0), address(1), address(3)]
    assert dict(told.fields) == {"epoch": 1, "validators": 3, "table": after.hash}
    found = epochs.validator_set(view, Epoch(1))
    assert found is not None
    assert found.seed == context(10, PARAMS).beacon


def test_with_nobody_left_the_old_set_goes_on() -> None:
    view = started()
    for n in range(4):
        view.put(VALIDATORS, row(5 * NANO, n + 1, jailed=True), address(n))
    epochs.turn(view, context(10, PARAMS))
    before, after = epochs.table_of(view, Epoch(0)), epochs.table_of(view, Epoch(1))
    assert before is not None
    assert after is not None
    assert after.entries == before.entries
    assert after.hash != before.hash, "the epoch is under the hash"


def test_old_sets_are_forgotten_after_the_evidence_window() -> None:
    view = started()
    for epoch in range(8):
        epochs.turn(view, context(10 * (epoch + 1), PARAMS))
        kept = [number(key) for key, _ in view.scan(VALIDATOR_SETS)]
        assert kept == list(range(max(0, epoch + 1 - 3), epoch + 2))


def test_editing_a_validator() -> None:
    view = started()
    ctx = context(3, PARAMS)
    secrets = [bls.keygen(bytes([n]) * 32) for n in (1, 2)]
    key, other = map(bls.sk_to_pk, secrets)
    good = bls.pop_prove(secrets[0])
    with pytest.raises(Rejected) as unknown:
        validators.edit(view, ctx, address(9), ValidatorEdit(None, None, None, "x"))
    assert unknown.value.code == "validator_unknown"
    for proof in (None, bls.pop_prove(secrets[1])):
        with pytest.raises(Rejected) as possession:
            validators.edit(view, ctx, address(0), ValidatorEdit(key, proof, None, None))
        assert possession.value.code == "possession"
    validators.edit(view, ctx, address(0), ValidatorEdit(key, good, 70, None))
    edited = validators.validator(view, address(0))
    assert edited is not None
    assert (edited.consensus_key, edited.commission_bps, edited.name) == (key, 70, "")
    # One key never serves two, nor comes back once it was given up.
    for who in (address(0), address(1)):
        with pytest.raises(Rejected) as taken:
            validators.edit(view, ctx, who, ValidatorEdit(key, good, None, None))
        assert taken.value.code == "consensus_key_taken"
    validators.edit(view, ctx, address(0), ValidatorEdit(other, bls.pop_prove(secrets[1]), None, "new"))
    with pytest.raises(Rejected):
        validators.edit(view, ctx, address(0), ValidatorEdit(key, good, None, None))
    # This epoch's table keeps the key that it had; the next one has the newest.
    now = epochs.table_of(view, Epoch(0))
    assert now is not None
    assert now.entries[0].consensus_key == BlsPublicKey((1).to_bytes(48, "big"))
    epochs.turn(view, context(10, PARAMS))
    following = epochs.table_of(view, Epoch(1))
    assert following is not None
    assert following.entries[0].consensus_key == other
