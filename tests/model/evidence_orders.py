"""Makes evidence, good and bad: signed by a scheme of the simulation, in the name of voters of some epoch."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.ballots import SKIP_ID, Certificate, Vote, VoteKind, vote_message
from omnitensor.protocol.bodies import EvidenceSubmit
from omnitensor.protocol.evidence import ConflictingCertificates, ConflictingVotes
from omnitensor.protocol.types import Address, Epoch, Hash, View
from tests.model.scene import CHAIN, Scene, address_of

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
A, B = Hash(b"a" * 32), Hash(b"b" * 32)
PAIRS = ((N, A, N, B), (F, A, F, B), (S, SKIP_ID, F, A))
ENOUGH_VALIDATORS = 5


def evidence_submit(scene: Scene, chance: Any) -> tuple[Address, Any] | None:
    model = scene.model
    epoch = max(0, model.epoch - chance.choice([0, 0, 0, 1, 1, 2, 5, -1]))
    voters = model.sets.get(epoch, (b"", ()))[1] or model.sets[model.epoch][1]
    workers = model.leading_workers(epoch) if epoch in model.sets else ()
    if workers and chance.randrange(2):
        return against_worker(scene, chance, epoch, len(voters), workers)
    living = [row for row in model.validators.values() if not row.removed]
    drawn = [at for at, voter in enumerate(voters) if voter[0] in drawn_next(scene)]
    good = len(living) > ENOUGH_VALIDATORS and chance.randrange(2 if drawn else 6) == 0
    wrong = (
        None if good else chance.choice(["signature", "signer", "view", "form", "bitmap", "quorum", "known"])
    )
    reporter = address_of(chance.choice(scene.names))
    first_kind, first_id, second_kind, second_id = chance.choice(PAIRS)
    view = 0 if wrong == "view" else chance.randrange(1, 9)
    if wrong == "form":
        first_kind, first_id, second_kind, second_id = N, SKIP_ID, N, B

    def signed(index: int, kind: VoteKind, candidate: Hash) -> Vote:
        key = voters[index % len(voters)][1]
        secret = secret_of(scene, key)
        if wrong == "signature" or secret is None:
            signature: Any = bytes(96)
        else:
            signature = scene.scheme.sign(
                secret, vote_message(CHAIN, Epoch(epoch), kind, View(view), candidate)
            )
        return Vote(kind, Epoch(epoch), View(view), candidate, index, signature)  # type: ignore[arg-type] # distinct ints

    convicted = [place for place, voter in enumerate(voters) if voter[0] in model.convictions]
    if wrong in ("bitmap", "quorum") or (wrong is None and chance.randrange(25) == 0 and len(living) > 9):
        return reporter, EvidenceSubmit(
            certificates(scene, chance, voters, signed, wrong, (first_kind, first_id, second_kind, second_id))
        )
    index = chance.randrange(len(voters)) + (len(voters) if wrong == "signer" else 0)
    if good and drawn:
        index = chance.choice(drawn)
    if wrong == "known":
        if not convicted:
            return None
        index = chance.choice(convicted)
    if chance.randrange(6) == 0 and index < len(voters):
        reporter = Address(voters[index][0])
    one, other = signed(index, first_kind, first_id), signed(index, second_kind, second_id)
    return reporter, EvidenceSubmit(ConflictingVotes.of(one, other))


def against_worker(scene: Scene, chance: Any, epoch: int, voters: int, workers: Any) -> tuple[Address, Any]:
    """Two proposals of one that leads by its work, mostly; at times votes that it never casts, or another's signature."""
    drawn = drawn_next(scene)
    place = chance.choice([at for at, row in enumerate(workers) if row[0] in drawn] or range(len(workers)))
    who, key, _ = workers[place]
    kinds = chance.choice([*[(N, A, N, B)] * 6, (F, A, F, B), (S, SKIP_ID, F, A)])
    view, index = View(chance.randrange(1, 4)), voters + place
    secret = secret_of(scene, key if chance.randrange(10) else workers[place - 1][1])
    votes = []
    for kind, candidate in (kinds[:2], kinds[2:]):
        message = vote_message(CHAIN, Epoch(epoch), kind, view, candidate)
        signature: Any = bytes(96) if secret is None else scene.scheme.sign(secret, message)
        votes.append(Vote(kind, Epoch(epoch), view, candidate, index, signature))
    reporter = Address(who) if chance.randrange(5) == 0 else address_of(chance.choice(scene.names))
    return reporter, EvidenceSubmit(ConflictingVotes.of(*votes))


def drawn_next(scene: Scene) -> set[bytes]:
    """Who has credit in the set that is fixed and not in use yet."""
    entries, _ = scene.model.worker_sets.get(scene.model.epoch + 1, ((), 0))
    return {who for who, _, credit in entries if credit}


def certificates(
    scene: Scene, chance: Any, voters: Any, signed: Any, wrong: str | None, pair: Any
) -> ConflictingCertificates:
    """Two certificates that share few signers, or don't fit the table."""
    everyone = list(range(len(voters)))
    total = sum(voter[2] for voter in voters)

    def quorum_of(order: list[int]) -> list[int]:
        found: list[int] = []
        for index in order:
            if wrong != "quorum" and sum(voters[each][2] for each in found) > total * 2 // 3:
                break
            if wrong == "quorum" and len(found) == max(1, len(voters) // 3):
                break
            found.append(index)
        return sorted(found)

    groups = [quorum_of(everyone), quorum_of(everyone if wrong == "quorum" else everyone[::-1])]
    made = []
    for signers, kind, candidate in ((groups[0], pair[0], pair[1]), (groups[1], pair[2], pair[3])):
        votes = [signed(index, kind, candidate) for index in signers]
        total_of = scene.scheme.new_sum()
        for vote in votes:
            total_of.add(vote.signature)
        bits = sum(1 << index for index in signers) | (1 << len(voters) if wrong == "bitmap" else 0)
        length = (len(voters) + 7) // 8 + (1 if wrong == "bitmap" and bits.bit_length() > 8 else 0)
        bitmap = bits.to_bytes(max(length, (bits.bit_length() + 7) // 8), "little")
        vote = votes[0]
        made.append(Certificate(kind, vote.epoch, vote.view, candidate, bitmap, total_of.signature()))
    return ConflictingCertificates.of(*made)


def secret_of(scene: Scene, key: bytes) -> bytes | None:
    """Of a consensus key that somebody registered; those of the genesis are known as well."""
    secrets = scene.memory.setdefault("secrets", {})
    if "genesis" not in scene.memory:
        scene.memory["genesis"] = True
        for name in scene.VALIDATORS:
            secrets[scene.scheme.key(scene.secret(name))] = scene.secret(name)
    found: bytes | None = secrets.get(key)
    return found
