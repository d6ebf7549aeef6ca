"""Two proposals of one worker, on chain: what they cost, whom they convict and whom they don't."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from omnitensor.protocol import bls
from omnitensor.protocol.ballots import SKIP_ID, Vote, VoteKind, vote_message
from omnitensor.protocol.bodies import EvidenceSubmit, WorkerBondAdd, WorkerLeave, WorkerRegister
from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.evidence import ConflictingCertificates, ConflictingVotes, Evidence
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Amount, BlsSignature, Epoch, Hash, View
from omnitensor.protocol.workers import WorkerEntry, WorkerSet
from state.ledger import worker_sets
from state.ledger.accounts import Pot, pot
from state.ledger.supply import check_everything
from state.records_work import WorkCredit, Worker
from state.schema import CONVICTIONS, VALIDATORS, WORK_CREDIT, WORKER_CONVICTIONS, WORKER_SETS, WORKERS
from tests.ledger.convicts import CHAIN, A, B, Court, F, N, S, secret_of, sign
from tests.ledger.world import QUICK, address_of

PARAMS = replace(QUICK, epoch_blocks=50)
BOND = PARAMS.worker_bond_min
WORKERS_HERE = ("wendy", "wes")


class WorkCourt(Court):
    """Four validators and two bonded workers, which lead in epoch 0 and 1; a third account has credit and no bond any more."""

    def __init__(self, params: Params = PARAMS) -> None:
        super().__init__(params=params, people=("ann", "ben", "gone", *WORKERS_HERE))
        for name in WORKERS_HERE:
            key = bls.sk_to_pk(secret_of(name))
            proof = bls.pop_prove(secret_of(name))
            assert self.do(name, WorkerRegister(Amount(BOND + 5), key, proof)).ok
        names = sorted((*WORKERS_HERE, "gone"), key=address_of)
        self.workers = tuple(names)
        entries = tuple(WorkerEntry(address_of(name), bls.sk_to_pk(secret_of(name)), 1_000) for name in names)
        for epoch in (0, 1):
            self.view.put(WORKER_SETS, WorkerSet(entries, 8), epoch)
        for name in names:
            self.view.put(WORK_CREDIT, WorkCredit(77, 8, 70, 77), 0, address_of(name))

    def index(self, name: str) -> int:
        return len(self.table_names) + self.workers.index(name)

    def signed(
        self,
        name: str,
        candidate: Hash,
        *,
        kind: VoteKind = N,
        view: int = 4,
        epoch: int = 0,
        by: str = "",
        chain: str = CHAIN,
    ) -> Vote:
        signature = sign(by or name, chain, epoch, kind, view, candidate)
        return Vote(kind, Epoch(epoch), View(view), candidate, self.index(name), BlsSignature(signature))

    def twice(self, name: str, **more: int) -> ConflictingVotes:
        return ConflictingVotes.of(self.signed(name, A, **more), self.signed(name, B, **more))  # type: ignore[arg-type]

    def worker(self, name: str) -> Worker:
        row = self.view.get(WORKERS, address_of(name))
        assert row is not None
        return row

    def report(self, evidence: Evidence, who: str = "ann") -> str:
        return self.do(who, EvidenceSubmit(evidence)).code

    def credit(self, name: str, epoch: int) -> int:
        row = worker_sets.worker_set(self.view, Epoch(epoch))
        assert row is not None
        return next(entry.credit for entry in row.entries if entry.address == address_of(name))


def test_a_bond_is_within_reach_for_as_long_as_its_sets_evidence() -> None:
    """A worker is drawn by sets two epochs ahead: whoever leaves right after such a set was fixed leads by it all the same."""
    court = WorkCourt(
        replace(PARAMS, epoch_blocks=10, evidence_epochs=2, unbonding_blocks=30, reward_base_bps=0)
    )
    entries = worker_sets.worker_set(court.view, Epoch(1))
    assert entries is not None
    while court.height < 10:
        court.block()
    court.view.put(WORKER_SETS, entries, 2)
    assert court.do("wendy", WorkerLeave()).ok
    assert court.do("wes", WorkerLeave()).ok
    while court.height < 48:
        court.block()
    assert court.report(court.twice("wendy", epoch=2)) == "ok"
    assert court.said("worker.convicted")[-1]["amount"] == BOND
    court.block()  # of epoch 4 the last
    assert court.report(court.twice("wes", epoch=2)) == "evidence_old"
    court.block()
    assert court.view.get(WORKERS, address_of("wes")) is None


@pytest.fixture
def court() -> WorkCourt:
    return WorkCourt()


def test_two_proposals_cost_bond_and_credit_once_an_epoch_and_pay_the_reporter(court: WorkCourt) -> None:
    bonds, reserve, burned = (pot(court.view, which) for which in (Pot.WORK_BONDS, Pot.RESERVE, Pot.BURNED))
    balance = court.balance("ann")
    receipt = court.do("ann", EvidenceSubmit(court.twice("wendy")))
    assert receipt.ok, receipt
    half = BOND * PARAMS.slash_burn_bps // 10_000
    reward = min(BOND - half, BOND * PARAMS.work_finder_bps // 10_000)
    assert court.balance("ann") == balance - receipt.fee - receipt.tip + reward
    assert court.worker("wendy").bond == 5
    assert pot(court.view, Pot.WORK_BONDS) == bonds - BOND
    assert pot(court.view, Pot.BURNED) == burned + half + receipt.fee
    assert pot(court.view, Pot.RESERVE) == reserve + BOND - half - reward
    (said,) = court.said("worker.convicted")
    assert (said["worker"], said["amount"], said["reward"]) == (address_of("wendy"), BOND, reward)
    assert court.credit("wendy", 0) == 1_000, "the set in use never changes"
    assert court.credit("wendy", 1) == 0
    assert court.credit("wes", 1) == 1_000
    row = court.view.get(WORK_CREDIT, 0, address_of("wendy"))
    assert row is not None
    assert row.credit == 0
    known = court.view.get(WORKER_CONVICTIONS, address_of("wendy"), 0)
    assert known is not None
    assert (known.slashed, known.reporter) == (BOND, address_of("ann"))
    assert court.view.get(CONVICTIONS, address_of("wendy")) is None, (
        "what it may do as a validator is another matter"
    )
    assert court.report(court.twice("wendy")) == "evidence_known"
    assert court.report(court.twice("wendy", view=9)) == "evidence_known"
    check_everything(court.view)
    assert court.do("wendy", WorkerBondAdd(Amount(BOND))).ok
    assert court.report(court.twice("wes"), "wes") == "ok", "who reports itself is paid nothing"
    assert court.said("worker.convicted")[-1]["reward"] == 0
    assert court.report(court.twice("gone")) == "ok"
    assert court.said("worker.convicted")[-1]["amount"] == 0
    check_everything(court.view)


def test_who_voted_twice_leads_nothing_by_its_work(court: WorkCourt) -> None:
    """A validator that works too: removed, it may go on working for pay, and no set draws it from the next epoch on."""
    name, other = court.table_names[0], "wendy"
    key = bls.sk_to_pk(secret_of(name))
    row = court.view.get(VALIDATORS, address_of(name))
    assert row is not None
    court.view.put(VALIDATORS, replace(row, consensus_key=key), address_of(name))
    assert court.do(name, WorkerRegister(Amount(BOND), key, bls.pop_prove(secret_of(name)))).ok
    entries = tuple(
        WorkerEntry(address_of(each), bls.sk_to_pk(secret_of(each)), credit)
        for each, credit in sorted(((name, 9_000), (other, 1_000)), key=lambda pair: address_of(pair[0]))
    )
    for epoch in (0, 1):
        court.view.put(WORKER_SETS, WorkerSet(entries, 8), epoch)
    court.view.put(WORK_CREDIT, WorkCredit(9_000, 8, 9_000, 9_000), 0, address_of(name))
    assert court.report(court.double_vote(0)) == "ok"
    assert court.credit(name, 0) == 9_000, "the set in use never changes"
    assert (court.credit(name, 1), court.credit(other, 1)) == (0, 1_000)
    assert court.worker(name).bond == BOND, "its work is another matter"
    court.blocks(PARAMS.epoch_blocks)
    fixed = worker_sets.worker_set(court.view, Epoch(2))
    assert fixed is not None
    assert address_of(name) not in [entry.address for entry in fixed.entries]
    assert address_of(other) in [entry.address for entry in fixed.entries]
    schedule = worker_sets.leaders_of(court.view, Epoch(1), Hash(bytes(32)))
    assert schedule is not None
    drawn = {schedule.address(schedule.leader(View(view))) for view in range(1, 400)}
    assert address_of(other) in drawn
    assert address_of(name) not in drawn
    assert court.said("work.pool"), "what it worked before is paid"
    assert address_of(name) in [said["worker"] for said in court.said("work.pool")]
    check_everything(court.view)


def test_evidence_of_another_epoch_is_another_conviction(court: WorkCourt) -> None:
    assert court.report(court.twice("wendy")) == "ok"
    assert court.do("wendy", WorkerBondAdd(Amount(BOND))).ok
    court.blocks(PARAMS.epoch_blocks)
    assert court.report(court.twice("wendy", epoch=1)) == "ok"
    assert court.worker("wendy").bond == 5


def test_nothing_else_convicts_a_worker(court: WorkCourt) -> None:
    good = court.twice("wendy")
    last = court.index(court.workers[-1])
    for bad, code in (
        (replace(good, first=court.signed("wendy", A, by="wes")), "evidence_signature"),
        (replace(good, first=court.signed("wendy", A, by=court.table_names[0])), "evidence_signature"),
        (replace(good, first=court.signed("wendy", A, chain="other")), "evidence_signature"),
        (
            ConflictingVotes.of(court.signed("wendy", A, kind=F), court.signed("wendy", B, kind=F)),
            "evidence_form",
        ),
        (
            ConflictingVotes.of(court.signed("wendy", A, kind=F), court.signed("wendy", SKIP_ID, kind=S)),
            "evidence_form",
        ),
        (
            ConflictingVotes.of(replace(good.first, signer=last + 1), replace(good.second, signer=last + 1)),
            "evidence_known",
        ),
    ):
        assert court.report(bad) == code
    assert court.worker("wendy").bond == BOND + 5
    assert not court.said("worker.convicted")


def test_no_bit_of_a_bitmap_is_a_worker(court: WorkCourt) -> None:
    """Certificates whose bitmaps go beyond the table name nobody there, whatever a decoder lets through."""
    beyond = (1 << court.index("wendy") | 1).to_bytes(1, "little")
    pair = [court.certificate((0,), F, named, bitmap=beyond) for named in (A, B)]
    evidence = ConflictingCertificates.of(*pair)
    assert court.index("wendy") in evidence.culprits
    assert court.report(evidence) == "evidence_bitmap"
    assert court.worker("wendy").bond == BOND + 5


def test_where_too_little_work_was_credited_nobody_outside_the_table_is_convicted(court: WorkCourt) -> None:
    row = worker_sets.worker_set(court.view, Epoch(0))
    assert row is not None
    court.view.put(WORKER_SETS, WorkerSet(row.entries, 7), 0)
    assert court.report(court.twice("wendy")) == "evidence_known"


@settings(max_examples=60, deadline=None)
@given(
    signer=st.integers(0, 8),
    first=st.sampled_from([N, S, F]),
    second=st.sampled_from([N, S, F]),
    data=st.data(),
)
def test_whom_two_messages_convict_agrees_with_a_table(
    signer: int, first: VoteKind, second: VoteKind, data: st.DataObject
) -> None:
    """Validators 0 to 3 by any conflict, workers 4 and 5 by two NOTARIZE alone, others by nothing."""
    ids = [SKIP_ID if kind == S else data.draw(st.sampled_from([A, B])) for kind in (first, second)]
    names = [f"convict {number}" for number in range(6)]
    court = COURT
    by = names[min(signer, 5)]
    votes = [
        Vote(
            kind,
            Epoch(0),
            View(4),
            named,
            signer,
            BlsSignature(bls.sign(secret_of(by), _message(kind, named))),
        )
        for kind, named in zip((first, second), ids, strict=True)
    ]
    kinds = {first, second}
    clash = (first == second and first != S and ids[0] != ids[1]) or kinds == {S, F}
    try:
        evidence = ConflictingVotes.of(*votes)
    except ValueError:
        assert not clash
        return
    assert clash
    due = signer < 4 or (signer < 6 and kinds == {N})
    if due:
        assert convicted(evidence, CHAIN, court.table, bls.SCHEME, court.keys) == (signer,)
        return
    with pytest.raises(EvidenceError) as refused:
        convicted(evidence, CHAIN, court.table, bls.SCHEME, court.keys)
    assert refused.value.code == ("evidence_form" if signer < 6 else "evidence_signer")


def _message(kind: VoteKind, named: Hash) -> bytes:
    return vote_message(CHAIN, Epoch(0), kind, View(4), named)


class _Six:
    """Four validators and two workers with keys."""

    def __init__(self) -> None:
        from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable

        keys = [bls.sk_to_pk(secret_of(f"convict {number}")) for number in range(6)]
        entries = tuple(
            ValidatorEntry(address, key, 10)
            for address, key in zip(
                sorted(address_of(f"convict {number}") for number in range(4)), keys[:4], strict=True
            )
        )
        self.table = ValidatorTable(Epoch(0), entries)
        self.keys = tuple(keys[4:])


COURT = _Six()
