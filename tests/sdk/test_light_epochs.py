"""The light client over epochs: it follows voters as they change, and takes no step that is changed in anything."""

from __future__ import annotations

from hashlib import sha256
from itertools import permutations

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls import G2ProofOfPossession

from omnitensor.light import (
    TRUST_PERIOD_MS,
    Checkpoint,
    ProofError,
    Step,
    TrustedPoint,
    TrustError,
    advance,
    advance_all,
    begin,
    check_final,
    check_trusted,
)
from omnitensor.protocol.types import Epoch, Hash, Height, View
from omnitensor.protocol.votes import (
    Candidate,
    Certificate,
    FinalityProof,
    ValidatorEntry,
    ValidatorTable,
    VoteKind,
)
from tests.sdk.epoch_world import (
    EPOCH_BLOCKS,
    EPOCHS,
    FILLED,
    NOW_MS,
    VOTERS,
    EpochWorld,
    consensus_key,
    lone_table,
    make_world,
    names,
)
from tests.sdk.forgeries import alterations
from tests.sdk.small_chain import finality_proof, signed_by
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("light-epochs")

replace = msgspec.structs.replace
DAY_MS = 86_400_000


def follow(point: TrustedPoint, *steps: Step) -> TrustedPoint:
    return advance_all(point, steps, now_ms=NOW_MS)


def test_voters_are_followed_as_they_change(world: EpochWorld) -> None:
    point = world.genesis
    for epoch in range(EPOCHS):
        assert point.epoch == epoch
        assert names(point.table) == VOTERS[epoch]
        point = advance(point, world.steps[epoch], now_ms=NOW_MS)
        assert point.height == (epoch + 1) * EPOCH_BLOCKS
    assert names(point.table) == VOTERS[EPOCHS]
    last = world.headers[-1]
    assert check_final(point, last, world.proofs[last.height], now_ms=NOW_MS) == last.hash
    assert follow(world.genesis, *world.steps) == point
    assert [step.voters is None for step in world.steps] == [False, False, False, True, True]


def test_any_final_block_is_a_beginning(world: EpochWorld) -> None:
    end = follow(world.genesis, *world.steps)
    for height in range(EPOCHS * EPOCH_BLOCKS + 1):
        point = world.point(height)
        assert follow(point, *world.steps[point.epoch :]).checkpoint == end.checkpoint
        again = Checkpoint.parse(str(point.checkpoint))
        assert begin(point.header, point.table, again, "epoch-world") == point


def packed(record: msgspec.Struct) -> bytes:
    """Canonical bytes, by the other library and by hand."""

    def plain(value: object) -> object:
        if isinstance(value, msgspec.Struct):
            return [plain(getattr(value, name)) for name in value.__struct_fields__]
        return int(value) if isinstance(value, int) else value

    return bytes(msgpack.packb(plain(record)))


def tagged(tag: str, *parts: bytes) -> bytes:
    start = sha256(tag.encode()).digest() * 2
    return sha256(start + b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


@pytest.mark.parametrize("epoch", [0, FILLED[0]])
def test_an_independent_reading_of_the_specification_agrees(world: EpochWorld, epoch: int) -> None:
    """Hashes by another msgpack, signatures by another library, weights by hand: what is taken is what the page describes."""
    step, table = world.steps[epoch], world.tables[epoch]
    entries = table.entries if step.voters is None else step.voters
    block_hash = tagged("omnitensor/header/1", packed(step.header))
    candidate, certificate = step.proof.candidate, step.proof.certificate
    assert candidate.block_hash == block_hash
    candidate_id = tagged("omnitensor/candidate/1", packed(candidate))
    assert certificate.candidate_id == candidate_id
    rows = [[entry.address, entry.consensus_key, entry.weight] for entry in entries]
    following = tagged("omnitensor/validators/1", msgpack.packb([epoch + 1, rows]))
    assert step.header.next_validators_hash == following
    bits = int.from_bytes(certificate.signers, "little")
    signers = [entry for place, entry in enumerate(table.entries) if bits >> place & 1]
    assert 3 * sum(entry.weight for entry in signers) > 2 * sum(entry.weight for entry in table.entries)
    vote = [step.header.chain_id, epoch, 3, candidate.view, candidate_id]
    message = tagged("omnitensor/vote/1", msgpack.packb(vote))
    keys = [entry.consensus_key for entry in signers]
    assert G2ProofOfPossession.FastAggregateVerify(keys, message, certificate.signature)


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_every_change_of_a_step_is_refused(world: EpochWorld, epoch: int) -> None:
    """Each field of each record in it, in every way that its type allows."""
    step = world.steps[epoch]
    point = world.point(epoch * EPOCH_BLOCKS)
    assert advance(point, step, now_ms=NOW_MS).epoch == epoch + 1
    count = 0
    for forged in alterations(step):
        count += 1
        with pytest.raises(ProofError):
            advance(point, forged, now_ms=NOW_MS)
    assert count > 200


def test_other_voters_are_refused(world: EpochWorld) -> None:
    for epoch, step in enumerate(world.steps):
        point = world.point(epoch * EPOCH_BLOCKS)
        entries = world.tables[epoch + 1].entries
        others = [table.entries for table in world.tables if table.entries != entries]
        for wrong in (*others, entries[:1], (*entries, entries[0]), tuple(reversed(entries)), ()):
            with pytest.raises(ProofError):
                advance(point, replace(step, voters=wrong), now_ms=NOW_MS)
        if step.voters is not None:
            with pytest.raises(ProofError, match="not those that the header names"):
                advance(point, replace(step, voters=None), now_ms=NOW_MS)
        for table in world.tables:
            if table.epoch != point.epoch:
                with pytest.raises(ProofError, match="voters are not those"):
                    TrustedPoint(point.header, table)


def test_parts_of_different_steps_are_refused(world: EpochWorld) -> None:
    for epoch in range(EPOCHS):
        point, step = world.point(epoch * EPOCH_BLOCKS), world.steps[epoch]
        for other in world.steps:
            for name in ("header", "proof"):
                forged = replace(step, **{name: getattr(other, name)})
                if forged != step:
                    with pytest.raises(ProofError):
                        advance(point, forged, now_ms=NOW_MS)


def test_steps_are_taken_in_order_alone(world: EpochWorld) -> None:
    for order in permutations(range(EPOCHS), 3):
        steps = [world.steps[epoch] for epoch in order]
        if order == (0, 1, 2):
            assert follow(world.genesis, *steps).epoch == 3
        else:
            with pytest.raises(ProofError, match="another epoch"):
                follow(world.genesis, *steps)
    for epoch in range(EPOCHS):
        with pytest.raises(ProofError, match="another epoch"):  # replayed
            follow(world.point((epoch + 1) * EPOCH_BLOCKS), world.steps[epoch])


def test_blocks_within_an_epoch_are_no_steps(world: EpochWorld) -> None:
    for height in range(1, len(world.headers)):
        header, epoch = world.headers[height], (height - 1) // EPOCH_BLOCKS
        if height % EPOCH_BLOCKS:
            point = world.point(epoch * EPOCH_BLOCKS)
            with pytest.raises(ProofError, match="not its epoch's last"):
                advance(point, Step(header, world.proofs[height], None), now_ms=NOW_MS)


def test_another_chain_with_the_same_validators_is_refused(
    world: EpochWorld, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_world(tmp_path_factory.mktemp("other"), "epoch-world-2")
    other.chain.close()
    point = world.genesis
    assert other.tables[0].hash == point.table.hash
    for step in (other.steps[0], replace(other.steps[0], header=world.steps[0].header)):
        with pytest.raises(ProofError):
            advance(point, step, now_ms=NOW_MS)
    renamed = replace(other.steps[0].header, chain_id=world.headers[0].chain_id)
    with pytest.raises(ProofError):
        advance(point, replace(other.steps[0], header=renamed), now_ms=NOW_MS)
    first = other.headers[0]
    for wrong in (Checkpoint(Height(0), first.hash), Checkpoint(Height(0), world.headers[0].hash)):
        with pytest.raises(ProofError):
            begin(first, other.tables[0], wrong, "epoch-world")


# -- certificates that were really signed, and show nothing


def certificate_of(world: EpochWorld, of: int, /, **changes: object) -> FinalityProof:
    """The boundary's proof with another certificate, signed by those in its bitmap."""
    proof = world.steps[of].proof
    unsigned = replace(proof.certificate, **changes)
    return replace(proof, certificate=signed_by(world.tables[of], unsigned, "epoch-world"))


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_signed_certificates_of_something_else_are_refused(world: EpochWorld, epoch: int) -> None:
    point, step, table = world.point(epoch * EPOCH_BLOCKS), world.steps[epoch], world.tables[epoch]
    sound = certificate_of(world, epoch)
    assert advance(point, replace(step, proof=sound), now_ms=NOW_MS).epoch == epoch + 1
    everybody = certificate_of(world, epoch, signers=table.bitmap(set(range(len(table)))))
    assert advance(point, replace(step, proof=everybody), now_ms=NOW_MS).epoch == epoch + 1
    minority = table.bitmap(set(range(2 * len(table) // 3)))
    for forged, why in (
        (certificate_of(world, epoch, signers=minority), "less than a quorum"),
        (certificate_of(world, epoch, kind=VoteKind.NOTARIZE), "not a certificate of finality"),
        (certificate_of(world, epoch, kind=VoteKind.SKIP), "not a certificate of finality"),
        (certificate_of(world, epoch, epoch=Epoch(epoch + 1)), "different epochs"),
        (certificate_of(world, epoch, view=View(1_000)), "another candidate"),
        (certificate_of(world, epoch, candidate_id=Hash(bytes(32))), "another candidate"),
    ):
        with pytest.raises(ProofError, match=why):
            advance(point, replace(step, proof=forged), now_ms=NOW_MS)
    good = sound.certificate
    for signers in (good.signers + b"\0", b"", b"\xff" * 13, good.signers + good.signers, b"\xff"):
        certificate = replace(good, signers=signers)
        with pytest.raises(ProofError):
            advance(point, replace(step, proof=FinalityProof(sound.candidate, certificate)), now_ms=NOW_MS)


def test_who_voted_before_decides_nothing_now(world: EpochWorld) -> None:
    """Voters of genesis, who left or changed keys since, make a boundary of a later epoch of their own: nobody follows."""
    old, epoch = world.tables[0], 3
    real = world.steps[epoch].header
    forged_table = ValidatorTable(Epoch(epoch), old.entries)
    next_table = ValidatorTable(Epoch(epoch + 1), old.entries)
    header = replace(
        real,
        validators_hash=forged_table.hash,
        next_validators_hash=next_table.hash,
        state_root=Hash(bytes(32)),
    )
    candidate = Candidate(Epoch(epoch), View(1), View(0), Hash(bytes(32)), header.hash)
    proof = finality_proof(forged_table, candidate, chain_id="epoch-world")
    with pytest.raises(ProofError, match="another validator table"):
        advance(world.point(9), Step(header, proof, old.entries), now_ms=NOW_MS)
    # It would be taken by whoever trusts those voters that long: the bound on trust is what refuses it.
    early = world.genesis
    with pytest.raises(TrustError, match="days old"):
        check_trusted(early, now_ms=early.header.timestamp_ms + TRUST_PERIOD_MS)


weights = st.lists(st.integers(1, 1_000), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(weights=weights, chosen=st.sets(st.integers(0, 5)))
def test_a_quorum_is_more_than_two_thirds_of_the_weight(
    world: EpochWorld, weights: list[int], chosen: set[int]
) -> None:
    owners = sorted((key(f"v{n}").address, f"v{n}") for n in range(len(weights)))
    entries = tuple(
        ValidatorEntry(address, consensus_key(name), weight)
        for (address, name), weight in zip(owners, weights, strict=True)
    )
    table, following = ValidatorTable(Epoch(0), entries), ValidatorTable(Epoch(1), entries)
    start = replace(world.headers[0], validators_hash=table.hash, next_validators_hash=table.hash)
    header = replace(
        world.headers[3],
        validators_hash=table.hash,
        next_validators_hash=following.hash,
    )
    signers = {place for place in chosen if place < len(weights)}
    candidate = Candidate(Epoch(0), View(3), View(2), Hash(bytes(32)), header.hash)
    unsigned = Certificate(
        VoteKind.FINALIZE,
        Epoch(0),
        View(3),
        candidate.id,
        table.bitmap(signers),
        world.proofs[3].certificate.signature,
    )
    certificate = signed_by(table, unsigned, "epoch-world") if signers else unsigned
    step = Step(header, FinalityProof(candidate, certificate), None)
    point = TrustedPoint(start, table)
    if 3 * sum(weights[place] for place in signers) > 2 * sum(weights):
        assert advance(point, step, now_ms=NOW_MS).epoch == 1
    else:
        with pytest.raises(ProofError, match="quorum"):
            advance(point, step, now_ms=NOW_MS)


def lone_header(world: EpochWorld, height: int, epoch: int, last: bool) -> tuple[TrustedPoint, FinalityProof]:
    """A header of a chain with one voter, at any height of any epoch, final."""
    table, above = lone_table(epoch), lone_table(epoch + last)
    header = replace(
        world.headers[1],
        height=height,
        epoch=epoch,
        parent=Hash(height.to_bytes(32, "big")),
        validators_hash=table.hash,
        next_validators_hash=above.hash,
    )
    candidate = Candidate(Epoch(epoch), View(1), View(0), Hash(bytes(32)), header.hash)
    return TrustedPoint(header, above), finality_proof(table, candidate, chain_id="epoch-world")


@pytest.mark.parametrize("blocks", [2, 3])
def test_heights_fit_their_epochs(world: EpochWorld, blocks: int) -> None:
    """The oracle writes the heights of every epoch down, for every length that epochs may have from what was trusted."""
    above = {
        (height, epoch, last): lone_header(world, height, epoch, last)
        for height in range(11)
        for epoch in range(4)
        for last in (False, True)
    }
    verdicts = set()
    for begun in range(3 * blocks):
        at_boundary = begun % blocks == 0
        epoch = begun // blocks
        point, _ = above[begun, epoch - (at_boundary and begun > 0), at_boundary and begun > 0]
        known = [blocks] if at_boundary and begun else range(1, 12)
        lengths = [
            n
            for n in known
            if begun in range(epoch * n, (epoch + 1) * n) and (begun == epoch * n) == at_boundary
        ]
        assert blocks in lengths
        for (height, number, last), (named, proof) in above.items():
            if height == begun + 1:
                continue  # its parent is the point, and is made up here
            inside = [n for n in lengths if number == epoch and begun < height <= (epoch + 1) * n]
            ends = [n for n in inside if height == (epoch + 1) * n]
            step = Step(named.header, proof, None)
            if last and ends:
                assert advance(point, step, now_ms=NOW_MS).height == height
            else:
                with pytest.raises(ProofError):
                    advance(point, step, now_ms=NOW_MS)
            if not (at_boundary and begun):
                continue  # how long epochs are is not known before the first boundary
            fits = bool(inside) and last == bool(ends)
            verdicts.add(fits)
            if fits:
                check_final(point, named.header, proof, now_ms=NOW_MS)
            else:
                with pytest.raises(ProofError):
                    check_final(point, named.header, proof, now_ms=NOW_MS)
    assert verdicts == {False, True}


def test_a_point_is_what_its_checkpoint_says(world: EpochWorld) -> None:
    header, table = world.headers[4], world.tables[1]
    right = Checkpoint(Height(4), header.hash)
    assert begin(header, table, right, "epoch-world").checkpoint == right
    for wrong, why in (
        (Checkpoint(Height(4), Hash(bytes(32))), "not the block of the checkpoint"),
        (Checkpoint(Height(5), header.hash), "another height"),
    ):
        with pytest.raises(ProofError, match=why):
            begin(header, table, wrong, "epoch-world")
    for epoch in (
        0,
        1,
        3,
        9,
    ):  # a header of epoch 1 with other voters above it: they can be those of epoch 2 alone
        odd = replace(header, next_validators_hash=lone_table(epoch).hash)
        with pytest.raises(ProofError, match="another epoch"):
            TrustedPoint(odd, lone_table(epoch))
    even = replace(header, next_validators_hash=lone_table(2).hash)
    assert TrustedPoint(even, lone_table(2)).epoch == 2


def test_the_block_above_stands_on_the_trusted_one(world: EpochWorld) -> None:
    header = replace(world.headers[4], parent=Hash(bytes(32)))
    candidate = Candidate(Epoch(1), View(4), View(0), Hash(bytes(32)), header.hash)
    proof = finality_proof(world.tables[1], candidate, chain_id="epoch-world")
    with pytest.raises(ProofError, match="stands on another block"):
        check_final(world.point(3), header, proof, now_ms=NOW_MS)
