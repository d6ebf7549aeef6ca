"""Malachite and Tendermint: a restart replayed into near-equivocation, a hidden lock stalled all, a log was truncated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from consensus.stake.effects import Broadcast
from consensus.stake.events import VoteReceived
from node.safety_files import DiskFiles
from node.safety_store import FILE_NAME, SafetyStore
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import View
from omnitensor.protocol.votes import SKIP_ID, Certificate, VoteKind
from tests.consensus.bench_core import DELTA_MS, INTERVAL_MS, STANDSTILL_MS
from tests.consensus.worlds import Workshop
from tests.lessons.workbench import Killed, Validator, contradictions

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE
SHOP = Workshop()
LEADER = SHOP.schedule.leader(View(1))
ME = (LEADER + 1) % 4
OTHERS = tuple(index for index in range(4) if index != ME)
TIMEOUT_MS = INTERVAL_MS + 3 * DELTA_MS


def life(validator: Validator, salt: int, *, late: bool) -> None:
    """One way in which views 1 and 2 may go: an equivocating leader's candidate with its own salt, in time or late.

    A quorum of the others notarizes it where this validator has not seen otherwise, so there is something to finalize.
    """
    validator.begin()
    candidate, block = SHOP.child(1, salt=salt)
    if late:
        validator.tick(TIMEOUT_MS)
    validator.propose(candidate, block)
    validator.checked(candidate)
    validator.certificate(SHOP.certificate(N, 1, candidate.id, OTHERS))
    validator.tick(TIMEOUT_MS)
    validator.certificate(SHOP.certificate(S, 2, signers=OTHERS))
    validator.tick(4 * TIMEOUT_MS)


@pytest.mark.parametrize("first_late", [False, True])
@pytest.mark.parametrize("second_late", [False, True])
def test_malachite_a_restart_at_any_step_contradicts_nothing(
    tmp_path: Path, first_late: bool, second_late: bool
) -> None:
    """Killed before or after every record and signature, and met by another story after the restart: no two votes convict."""
    steps = 0
    for kill_in in range(40):
        folder = tmp_path / str(kill_in)
        first = Validator(ME, SHOP, folder, new=True, kill_in=kill_in)
        try:
            life(first, 0, late=first_late)
        except Killed:
            steps += 1
        first.kill()
        second = Validator(ME, SHOP, folder, new=False)
        life(second, 1, late=second_late)
        signed = [*first.signed, *second.signed]
        assert contradictions(signed) == [], (kill_in, signed)
        assert second.refused == 0, "the core did not even ask"
        assert second.signed[: len(first.signed)] or not first.signed
        second.kill()
        if first.kill_in is not None and first.kill_in >= 0:
            break
    assert steps >= 4


def test_malachite_a_leader_killed_at_any_step_proposes_once(tmp_path: Path) -> None:
    for kill_in in range(3):
        folder = tmp_path / str(kill_in)
        proposed: list[bytes] = []
        signed = []
        for life_number in range(2):
            leader = Validator(
                LEADER, SHOP, folder, new=life_number == 0, kill_in=None if life_number else kill_in
            )
            candidate, block = SHOP.child(1, salt=life_number)
            try:
                leader.begin()
                leader.tick(INTERVAL_MS)
                leader.built(1, block)
                leader.tick(TIMEOUT_MS)
            except Killed:
                pass
            signed += leader.signed
            proposed += [bytes(c) for kind, view, c in leader.signed if (kind, view) == (N, 1)]
            leader.kill()
        assert len(set(proposed)) <= 1
        assert contradictions(signed) == []
        assert candidate.id not in proposed or kill_in == 0, "only where nothing was recorded before"


# -- a hidden lock: one validator alone knows that a candidate was notarized


@pytest.mark.parametrize("restarted", [False, True])
def test_tendermint_a_hidden_lock_is_shown_in_a_standstill(tmp_path: Path, restarted: bool) -> None:
    """It has finalized, so it will never skip; the two others have skipped, and lack its vote. What it knows frees them (R8).

    Also when it was killed meanwhile: the notarization is recorded with the vote that hangs on it.
    """
    locked = Validator(ME, SHOP, tmp_path / "locked", new=True)
    locked.begin()
    candidate, block = SHOP.child(1)
    locked.propose(candidate, block)
    locked.checked(candidate)
    others = [Validator(index, SHOP, tmp_path / str(index), new=True) for index in OTHERS if index != LEADER]
    third = others[0]
    assert third.me is not None
    notarization = SHOP.certificate(N, 1, candidate.id, (ME, LEADER, third.me))
    locked.certificate(notarization)
    assert [(kind, view) for kind, view, _ in locked.signed] == [(N, 1), (F, 1)]
    for other in others:
        other.begin()
        if other is third:  # it voted as well, and never heard of the others' votes
            other.propose(candidate, block)
            other.checked(candidate)
        other.tick(TIMEOUT_MS)
        assert (S, 1) in [(kind, view) for kind, view, _ in other.signed]
        for index in (o.me for o in others if o is not other):
            assert index is not None
            other.vote(S, 1, SKIP_ID, index)
        assert other.core.view == 1, "two of four can't leave the view by themselves"
    if restarted:
        locked.kill()
        locked = Validator(ME, SHOP, tmp_path / "locked", new=False)
        locked.begin()
    said: list[Certificate] = []
    for ms in range(TIMEOUT_MS, TIMEOUT_MS + 2 * STANDSTILL_MS, 100):
        del locked.said[:]
        locked.tick(ms)
        said += [
            e.message for e in locked.said if isinstance(e, Broadcast) and isinstance(e.message, Certificate)
        ]
    assert notarization in said
    assert (S, 1) not in [(kind, view) for kind, view, _ in locked.signed]
    for other in others:
        for certificate in said:
            other.certificate(certificate)
        assert other.core.view == 2
        assert contradictions(other.signed) == []
        other.kill()
    locked.kill()


# -- a truncated log


def whole_log(folder: Path) -> tuple[bytes, list[int]]:
    """The file of a validator that notarized and finalized, and its size after each step."""
    validator = Validator(ME, SHOP, folder, new=True)
    sizes = [(folder / FILE_NAME).stat().st_size]
    validator.begin()
    candidate, block = SHOP.child(1)
    validator.propose(candidate, block)
    validator.checked(candidate)
    sizes.append((folder / FILE_NAME).stat().st_size)
    validator.certificate(SHOP.certificate(N, 1, candidate.id, (ME, *OTHERS[:2])))
    sizes.append((folder / FILE_NAME).stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]
    validator.kill()
    return (folder / FILE_NAME).read_bytes(), sizes


def test_tendermint_a_log_cut_where_a_vote_was_signed_halts_before_it_harms(tmp_path: Path) -> None:
    """A whole record is gone, which no file can tell of itself. The validator hears its own vote and stops, and says why."""
    data, sizes = whole_log(tmp_path / "whole")
    for end, lost in ((sizes[1], F), (sizes[0], N)):
        folder = tmp_path / f"cut at {end}"
        shutil.copytree(tmp_path / "whole", folder)
        (folder / FILE_NAME).write_bytes(data[:end])
        validator = Validator(ME, SHOP, folder, new=False)
        validator.begin()
        candidate, _ = SHOP.child(1)
        validator.do(VoteReceived(validator.now, "peer", SHOP.vote(lost, 1, candidate.id, ME)))
        assert "its safety store was set back" in validator.halted
        assert "keep the newest" in validator.halted
        before = list(validator.signed)
        validator.tick(10 * TIMEOUT_MS)
        assert validator.signed == before, "and signs nothing more"
        validator.kill()


def test_tendermint_a_log_that_is_torn_forgets_only_what_never_left(tmp_path: Path) -> None:
    """Cut inside the last record, it is healed; damaged before it, or cut in its head, it is refused."""
    data, sizes = whole_log(tmp_path / "whole")
    candidate, _ = SHOP.child(1)
    key = SHOP.table.key(ME)
    folder = tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", folder)
    for end in range(sizes[1], sizes[2], 7):
        (folder / FILE_NAME).write_bytes(data[:end])
        store = SafetyStore.open(DiskFiles(folder), "chain", key)
        assert [(vote.kind, vote.candidate_id) for vote in store.memory.votes] == [(N, candidate.id)]
        store._files.unlock()
    for end in range(0, sizes[0], 5):
        (folder / FILE_NAME).write_bytes(data[:end])
        with pytest.raises(StorageError):
            SafetyStore.open(DiskFiles(folder), "chain", key)
    for place in range(sizes[0], sizes[1], 11):
        (folder / FILE_NAME).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(StorageError):
            SafetyStore.open(DiskFiles(folder), "chain", key)
