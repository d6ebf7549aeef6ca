"""For how long a light client trusts, and what it takes as proven under a header that it followed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.light import (
    TRUST_PERIOD_MS,
    Checkpoint,
    CheckpointError,
    Inclusion,
    ProofError,
    Step,
    TrustedPoint,
    TrustError,
    advance,
    advance_all,
    check_ancestor,
    check_final,
    check_receipt,
    check_row,
    check_trusted,
    trust_period_ms,
)
from omnitensor.protocol import limits
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError, ProtocolError
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.rows import account_key
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import Epoch, Hash, Height, TimeMs, View
from omnitensor.protocol.votes import (
    Candidate,
)
from tests.sdk.epoch_world import (
    EPOCH_BLOCKS,
    EPOCHS,
    NOW_MS,
    EpochWorld,
)
from tests.sdk.forgeries import alterations
from tests.sdk.small_chain import finality_proof
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("light-epochs")

replace = msgspec.structs.replace
DAY_MS = 86_400_000


def follow(point: TrustedPoint, *steps: Step) -> TrustedPoint:
    return advance_all(point, steps, now_ms=NOW_MS)


@settings(max_examples=200, deadline=None)
@given(age=st.integers(-2 * 300_000, 3 * DAY_MS), period=st.integers(1, 3 * DAY_MS))
def test_trust_ends(world: EpochWorld, age: int, period: int) -> None:
    point = world.point(3)
    now = point.header.timestamp_ms + age
    if -300_000 <= age < period:
        check_trusted(point, now_ms=now, period_ms=period)
        return
    with pytest.raises(TrustError) as raised:
        check_trusted(point, now_ms=now, period_ms=period)
    assert raised.value.remedy
    assert str(point.checkpoint)[:20] in raised.value.value
    for act in (
        lambda: advance(point, world.steps[1], now_ms=now, period_ms=period),
        lambda: check_final(point, world.headers[4], world.proofs[4], now_ms=now, period_ms=period),
    ):
        with pytest.raises(TrustError):
            act()


def test_the_period_is_how_long_voters_can_be_punished() -> None:
    assert TRUST_PERIOD_MS == 14 * DAY_MS - 600_000
    assert trust_period_ms(Params(unbonding_blocks=100, block_interval_ms=500)) == 50_000
    short = Params(evidence_epochs=4, epoch_blocks=30, block_interval_ms=1_000)
    assert trust_period_ms(short) == 120_000, (
        "what nobody can be convicted of any more can't be punished either"
    )


def test_no_chain_bears_more_ahead_of_its_clocks_than_a_light_client() -> None:
    """Else one leader that dates its block as far ahead as it may keeps every light client from the chain, for as long."""
    assert SPECS["clock_drift_ms"].high < limits.light_clock_ahead_ms_max


def test_headers_of_the_future_and_of_the_past_are_refused(world: EpochWorld) -> None:
    for change_ms, why in ((301_000, "future"), (-120_000, "older")):
        header = replace(world.headers[5], timestamp_ms=TimeMs(NOW_MS + change_ms))
        candidate = Candidate(Epoch(1), View(5), View(4), Hash(bytes(32)), header.hash)
        proof = finality_proof(world.tables[1], candidate, chain_id="epoch-world")
        with pytest.raises(ProofError, match=why):
            check_final(world.point(3), header, proof, now_ms=NOW_MS)


# -- what hangs on a header


def test_rows_receipts_and_blocks_under_a_followed_header(world: EpochWorld) -> None:
    """Whatever is changed in a proof, or in what it is to prove: it proves nothing, and fails in no other way."""
    point, reader = follow(world.genesis, *world.steps), world.chain.reader()
    last = reader.head.header
    check_final(point, last, world.proofs[last.height], now_ms=NOW_MS)
    for name, present in (("nobody", True), ("never", False)):
        row_key = account_key(key(name).address)
        value, proof = reader.prove(row_key)
        assert (value is not None) == present
        check_row(last, row_key, value, proof)
        for forged in alterations(proof):
            with pytest.raises(ProofError):
                check_row(last, row_key, value, forged)
        for other in (b"" if value is None else None, b"\0", *alterations(value)):
            with pytest.raises(ProofError):
                check_row(last, row_key, other, proof)
        for other in alterations(row_key):
            if other[:1] == row_key[:1] and value is not None:
                with pytest.raises(ProofError):
                    check_row(last, other, value, proof)
        deep = StateProof(proof.page, (Hash(bytes(32)),) * 300)
        with pytest.raises(ProofError):
            check_row(last, row_key, value, deep)

    block = world.chain.reader().block(Height(10))
    assert block is not None
    placed = reader.receipt(block.transactions[0].id)
    assert placed is not None
    place = reader.prove_receipt(placed)
    assert check_receipt(block.header, placed.receipt, place) == block.transactions[0].id
    for forged_place in (*alterations(place), Inclusion(place.index, place.size, place.path * 70)):
        with pytest.raises(ProofError):
            check_receipt(block.header, placed.receipt, forged_place)
    simple = replace(placed.receipt, events=())
    for forged_receipt in (simple, *(each for each in alterations(simple) if each != placed.receipt)):
        with pytest.raises(ProofError):
            check_receipt(block.header, forged_receipt, place)

    for height in range(last.height):
        below, path = world.headers[height], reader.prove_block(Height(height))
        check_ancestor(last, height, below.hash, path)
        for forged_path in alterations(path):
            with pytest.raises(ProofError):
                check_ancestor(last, height, below.hash, forged_path)
        for wrong in (height + 1, height - 1):
            with pytest.raises(ProofError):
                check_ancestor(last, wrong, below.hash, path)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_changed_bytes_of_a_step_are_refused(world: EpochWorld, data: st.DataObject) -> None:
    """As a file or a peer would bring it: the bytes are no step, or a step that proves nothing."""
    epoch = data.draw(st.integers(0, EPOCHS - 1))
    encoded = bytearray(encode(world.steps[epoch]))
    assert decode(Step, bytes(encoded)) == world.steps[epoch]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        encoded[place] = data.draw(st.integers(0, 255))
    changed = bytes(encoded)
    if changed == encode(world.steps[epoch]):
        return
    try:
        step = decode(Step, changed)
    except CodecError:
        return
    with pytest.raises(ProofError):
        advance(world.point(epoch * EPOCH_BLOCKS), step, now_ms=NOW_MS)


# -- checkpoints as text


@given(height=st.integers(0, 2**63), block_hash=st.binary(min_size=32, max_size=32))
def test_checkpoints_are_read_as_they_are_written(height: int, block_hash: bytes) -> None:
    checkpoint = Checkpoint(Height(height), Hash(block_hash))
    assert Checkpoint.parse(str(checkpoint)) == checkpoint
    assert Checkpoint.parse(f" {height}:0X{block_hash.hex().upper()}\n") == checkpoint


@given(
    text=st.one_of(st.text(max_size=90), st.from_regex(r"[0-9٣-]{0,25}:?[0-9a-gx:]{60,70}", fullmatch=True))
)
def test_other_text_is_no_checkpoint(text: str) -> None:
    height, _, digits = text.strip().lower().partition(":")
    plain = digits.removeprefix("0x")
    a_number = height.isascii() and height.isdigit() and len(height) <= 20 and int(height) < 2**64
    if a_number and len(plain) == 64 and set(plain) <= set("0123456789abcdef"):
        Checkpoint.parse(text)
        return
    with pytest.raises(CheckpointError) as raised:
        Checkpoint.parse(text)
    assert isinstance(raised.value, ProtocolError)
    assert "height:hash" in raised.value.remedy
