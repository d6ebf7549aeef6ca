"""Faults planted in the ledger, one at a time: the histories see each within a bounded number of transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import Transfer
from state.ledger import (
    delegations,
    draw,
    jobs,
    pay,
    removal,
    rewards,
    seats,
    transition,
    validators,
    vaults,
    worker_sets,
)
from state.ledger.accounts import NO_ACCOUNT, Pot, move
from state.ledger.errors import Rejected
from state.ledger.registry import END_OF_BLOCK, HANDLERS
from state.ledger.supply import SupplyError
from state.ledger.transition import Execution
from state.ledger.work_rows import put_unit, unit_of
from state.overlay import Overlay
from state.schema import ACCOUNTS, QUEUE, VALIDATORS
from tests.model.histories import history

TRANSACTIONS_MAX = 4_000
"""A fault is seen within so many."""
SEEDS = (1, 2, 3, 4, 5)


def patched(where: str, what: Any) -> Callable[[], Any]:
    return lambda: mock.patch(where, what)


def step_instead(old: Any, new: Any) -> Callable[[], Any]:
    """Another step at the end of blocks."""
    steps = tuple(new if step is old else step for step in END_OF_BLOCK)
    return lambda: mock.patch.object(transition, "END_OF_BLOCK", steps)


def paid_twice(view: Any, ctx: Any) -> Any:
    events = validators.pay_unbonded(view, ctx)
    for event in events:
        said = dict(event.fields)
        move(view, Pot.RESERVE, said["validator"], said["amount"])
    return events


REAL_APPLY, REAL_ADD, REAL_TRANSFER = Execution.apply, transition._add_to_pot, HANDLERS[Transfer]
REAL_OWED, REAL_WANTED, REAL_VESTED = rewards.owed, delegations._wanted, vaults.vested
REAL_FIX = worker_sets.fix
REAL_LET_GO, REAL_SEED, REAL_PAY = seats._let_go, draw.seats_seed, pay.contributor_pay


def nonce_stays(execution: Execution, prepared: Any) -> Any:
    receipt = REAL_APPLY(execution, prepared)
    if prepared.transaction.tip:
        sender = prepared.transaction.sender
        row = execution.view.get(ACCOUNTS, sender)
        assert row is not None
        execution.view.put(ACCOUNTS, replace(row, nonce=row.nonce - 1), sender)
    return receipt


def fees_not_burned(view: Any, which: Pot, amount: int) -> None:
    if which is not Pot.BURNED:
        REAL_ADD(view, which, amount)


def careless_transfer(view: Any, ctx: Any, sender: Any, body: Any) -> Any:
    """Writes before it refuses."""
    try:
        return REAL_TRANSFER(view, ctx, sender, body)
    except Rejected:
        view.put(ACCOUNTS, NO_ACCOUNT, sender)
        raise


@contextmanager
def rollback_missing() -> Iterator[None]:
    with mock.patch.dict(HANDLERS, {Transfer: careless_transfer}), mock.patch.object(Overlay, "rollback"):
        yield


def bond_stays_held(view: Any, address: Any, bond: int) -> None:
    REAL_LET_GO(view, address, bond)
    row = view.get(VALIDATORS, address)
    view.put(VALIDATORS, row.with_held(row.held + bond), address)


def upper_median(pairs: Any) -> int:
    ordered, total, reached = sorted(pairs), sum(weight for _, weight in pairs), 0
    for value, weight in ordered:
        reached += weight
        if 2 * reached > total:
            return int(value)
    raise AssertionError("weights are positive")


def owed_again(view: Any, epoch: Any, validator: Any, row: Any) -> int:
    """Forgets that a claim was paid where there was one: everything since the first epoch is owed."""
    return int(REAL_OWED(view, epoch, validator, replace(row, index=bytes(16)) if row.shares % 2 else row))


def too_few_shares(ctx: Any, row: Any, free: int, whole: int, wanted: Any) -> tuple[int, int]:
    amount, shares = REAL_WANTED(ctx, row, free, whole, wanted)
    return amount, shares if shares == free else amount * row.shares // row.delegated


def vests_early(row: Any, now: int) -> int:
    return int(REAL_VESTED(row, now + 25_000))


def agreed_by_half(table: Any, votes: Any) -> Any:
    weights: dict[Any, int] = {}
    for voter, said in votes:
        place = table.index_of(voter)
        weights[said] = weights.get(said, 0) + (table.entries[place].weight if place is not None else 0)
    return next((said for said, weight in weights.items() if 2 * weight > table.total_weight), None)


def fee_alone(view: Any, job: Any, worker: Any) -> Any:
    move(view, Pot.WORK, worker, job.fee_unit)
    move(view, Pot.WORK, Pot.RESERVE, job.burn_unit)
    return replace(
        job,
        escrow=job.escrow - job.cost,
        paid=job.paid + job.fee_unit,
        burned=job.burned + job.burn_unit,
    )


def done_all_the_same(view: Any, ctx: Any, name: Any, job: Any, unit: int) -> Any:
    return jobs.receipt_done(view, ctx, name, job)


def kept_as_it_was(view: Any, name: Any, job: Any, unit: int, *, under_way: int = 0, good: int = 0) -> Any:
    """Counts what is left of a unit, and nothing begins anew."""
    before = unit_of(view, name, unit)
    row = replace(before, under_way=before.under_way + under_way, good=before.good + good)
    put_unit(view, name, unit, row)
    return replace(job, done=job.done + row.is_done - before.is_done)


def fixed_early(view: Any, epoch: Any, workers: Any) -> None:
    REAL_FIX(view, epoch - 1, workers)


def shares_rounded_down(total: int, weights: Any) -> Any:
    whole = sum(weight for _, weight in weights) or 1
    return {key: total * weight // whole for key, weight in weights}, 0


FAULTS: dict[str, Callable[[], Any]] = {
    "a unit lost in a split": patched(
        "state.ledger.escrow.burned_part",
        lambda penalty, params: -(-penalty * params.penalty_burn_bps // 10_000),
    ),
    "fees are not burned": patched("state.ledger.transition._add_to_pot", fees_not_burned),
    "no fee is taken": patched("state.ledger.transition.fee_of", lambda weight, base_fee: 0),
    "the base fee does not move": patched(
        "state.ledger.transition.next_base_fee", lambda base_fee, weight_used, params: base_fee
    ),
    "the nonce stays": patched("state.ledger.transition.Execution.apply", nonce_stays),
    "a withdrawal is paid twice": step_instead(validators.pay_unbonded, paid_twice),
    "a withdrawal is paid at once": patched("state.ledger.validators.number", lambda part: 0),
    "a refusal keeps what was written": rollback_missing,
    "session keys are not checked": patched("state.ledger.transition.check_session", lambda *_: None),
    "bonds do not count against a session key": patched("state.ledger.transition.spend", lambda *_: None),
    "possession is not checked": patched("state.ledger.validators.check_key", lambda *_: None),
    "withdrawals are not slashed": patched("state.ledger.slashing.UNBONDING_BY_VALIDATOR", QUEUE),
    "delegated stake is not slashed": patched("state.ledger.slashing.pools.shrink", lambda *_: None),
    "a slash at its source forgets a redelegation": patched(
        "state.ledger.delegations.kept", lambda number, then, now: number
    ),
    "what joined in an epoch earns in it": patched("state.ledger.rewards._joining", lambda *_: 0),
    "rewards are paid again": patched("state.ledger.rewards.owed", owed_again),
    "leaving shares are rounded down": patched("state.ledger.delegations._wanted", too_few_shares),
    "votes stay where shares were": patched("state.ledger.ballots.moved", lambda *_: None),
    "a change of parameters comes too early": patched("state.ledger.parameters.NEXT_EPOCH", b""),
    "locked money vests too early": patched("state.ledger.vaults.vested", vests_early),
    "a refused order of several keys can be sent again": patched(
        "state.ledger.multisig.OrderRefused", lambda refusal, events: refusal
    ),
    "a seat's bond stays held": patched("state.ledger.seats._let_go", bond_stays_held),
    "a removed validator keeps its seats": step_instead(removal.carry_out, lambda view, ctx: ()),
    "duplicates are admitted": patched("state.ledger.submissions._holders", lambda *_: ()),
    "a seat commits before it can have its keys": patched(
        "state.ledger.privacy.check_commit", lambda *_: None
    ),
    "an item that a seat could not read is judged": patched(
        "state.ledger.privacy.unread", lambda *_: frozenset()
    ),
    "keys of a batch that is done stay": patched("state.ledger.rounds.privacy.forget", lambda *_: None),
    "the upper median is taken": patched("state.ledger.scoring.weighted_median", upper_median),
    "a redraw uses the first draw's seed": patched(
        "state.ledger.draw.seats_seed",
        lambda beacon, batch, round_, attempt: REAL_SEED(beacon, batch, round_, 0),
    ),
    "an item earns a unit too much": patched(
        "state.ledger.items.contributor_pay", lambda most, score: min(most, REAL_PAY(most, score) + 1)
    ),
    "a unit is anybody's at once": patched("state.ledger.work_receipts.drawn_for", lambda *_: None),
    "half of the stake settles a receipt": patched("state.ledger.work_judging.agreed", agreed_by_half),
    "what burns for a unit is kept": patched("state.ledger.jobs.receipt_stood", fee_alone),
    "a bad receipt costs half a bond": patched("state.ledger.work_judging.BPS", 5_000),
    "work for nothing counts in full": patched(
        "state.ledger.work_credit.counted_at", lambda macs, share_bps, discount_bps: macs
    ),
    "receipts hold no bond": patched("state.ledger.workers.hold", lambda *_, **__: None),
    "credit draws one epoch too early": patched("state.ledger.worker_sets.fix", fixed_early),
    "outputs are shown before others had the time to commit": patched(
        "state.ledger.work_receipts.shown_from", lambda *_: 0
    ),
    "nobody remembers that a unit was shown": patched(
        "state.ledger.work_receipts.put_unit",
        lambda view, job, unit, row: put_unit(view, job, unit, replace(row, shown=False)),
    ),
    "a unit waits beyond its deadline": patched(
        "state.ledger.work_receipts._hold",
        lambda ctx, job: ctx.height + ctx.params.work_assigned_blocks + ctx.params.work_outputs_blocks,
    ),
    "a unit is done while a receipt of it is judged": patched(
        "state.records_work.WorkUnit.is_done", property(lambda unit: unit.good > 0)
    ),
    "a unit that nobody has any more stays shown": patched(
        "state.ledger.work_receipts.settle_unit", kept_as_it_was
    ),
    "a unit that turned out bad stays done": patched("state.ledger.jobs.receipt_fell", done_all_the_same),
    "what a bad receipt proved stays": patched("state.ledger.work_proven.take_back", lambda *_: ()),
    "a convicted worker keeps its credit": patched(
        "state.ledger.worker_faults._drop_credit", lambda *_: None
    ),
    "who voted twice leads on": patched("state.ledger.evidence.worker_sets.lead_no_more", lambda *_: None),
    "the pool loses what floors leave": patched(
        "state.ledger.work_credit.largest_remainder", shares_rounded_down
    ),
    "old scores do not fade": patched(
        "state.ledger.reputation._decayed",
        lambda sum_, weight, value, evidence, decay: (sum_ + value * evidence, weight + evidence),
    ),
}


def test_histories_pass_without_a_fault() -> None:
    history(SEEDS[0], 300)


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_seen(fault: str) -> None:
    with FAULTS[fault](), pytest.raises((AssertionError, SupplyError)):
        for seed in SEEDS:
            history(seed, TRANSACTIONS_MAX)
