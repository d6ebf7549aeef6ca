"""The register of workers and their bonds: registration, adding, leaving, keys, and what a bond loses.

Knows nothing of receipts but how many can still cost the bond.
"""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies.work import WorkerBondAdd, WorkerEdit, WorkerLeave, WorkerRegister
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, Address, Amount, BlsPublicKey, BlsSignature, Height
from state.ledger import validators
from state.ledger.accounts import Pot, burn, lifetime_sum, move
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.ledger.work_rows import Due, look_at
from state.records import UNIT, Counter
from state.records_work import Worker
from state.schema import CONSENSUS_KEYS, COUNTERS, VALIDATORS, WORKERS

WORKERS_COUNTER: Final = b"workers"
"""How many are registered: rows of the register."""


def worker_of(view: ReadView, address: Address) -> Worker:
    """The worker of an account. Raises Rejected where it is none."""
    row = view.get(WORKERS, address)
    if row is None:
        raise Rejected(
            "worker_unknown",
            "the account is no worker",
            value=address,
            remedy="register with: otensor-cli worker register",
        )
    return row


def is_active(row: Worker, params: Params) -> bool:
    """Whether a worker may take units: its bond is whole, and it does not leave."""
    return not row.leaves_at and row.bond >= params.worker_bond_min


def check_active(view: ReadView, params: Params, address: Address) -> None:
    """Raises Rejected unless the account is a worker that may take units."""
    row = worker_of(view, address)
    if row.leaves_at:
        raise Rejected(
            "worker_leaves", "the worker is leaving", value=address, remedy="register anew afterwards"
        )
    if row.bond < params.worker_bond_min:
        raise Rejected(
            "worker_bond",
            f"a worker needs a bond of {format_omnit(params.worker_bond_min)}",
            value=format_omnit(row.bond),
            remedy="add to it with: otensor-cli worker bond",
        )


def register(view: View, ctx: BlockContext, sender: Address, body: WorkerRegister) -> tuple[Event, ...]:
    """Makes the sender a worker."""
    if view.get(WORKERS, sender) is not None:
        raise Rejected(
            "worker_exists", "the account is a worker already", value=sender, remedy="add to its bond instead"
        )
    if body.bond < ctx.params.worker_bond_min:
        raise Rejected(
            "worker_bond",
            f"a worker needs a bond of {format_omnit(ctx.params.worker_bond_min)}",
            value=format_omnit(body.bond),
            remedy="bond more",
        )
    if registered(view) >= limits.workers_max:
        raise Rejected(
            "worker_limit",
            "there are as many workers as there may be",
            value=limits.workers_max,
            remedy="wait until one has left",
        )
    _take_key(view, ctx, sender, body.consensus_key, body.proof_of_possession)
    move(view, sender, Pot.WORK_BONDS, body.bond)
    _count(view, 1)
    row = Worker(
        bond=body.bond,
        consensus_key=body.consensus_key,
        registered_at=ctx.height,
        leaves_at=Height(0),
        held=0,
        good=0,
        bad=0,
        fees=0,
        pool=0,
        slashed=0,
    )
    view.put(WORKERS, row, sender)
    return (event("worker.registered", worker=sender, bond=body.bond),)


def registered(view: ReadView) -> int:
    """How many workers there are."""
    row = view.get(COUNTERS, WORKERS_COUNTER)
    return row.next if row else 0


def _count(view: View, change: int) -> None:
    view.put(COUNTERS, Counter(registered(view) + change), WORKERS_COUNTER)


def _take_key(
    view: View, ctx: BlockContext, sender: Address, key: BlsPublicKey, possession: BlsSignature
) -> None:
    """Raises Rejected unless the key is the sender's as a validator, or new to the chain; then it is the sender's."""
    validator = view.get(VALIDATORS, sender)
    if validator is None:
        validators.check_key(view, ctx, key, possession)
        view.put(CONSENSUS_KEYS, UNIT, key)
    elif key != validator.consensus_key:
        raise Rejected(
            "worker_key",
            "a validator works with its own consensus key",
            value=key,
            remedy="give the key that the validator has",
        )


def add_bond(view: View, ctx: BlockContext, sender: Address, body: WorkerBondAdd) -> tuple[Event, ...]:
    row = worker_of(view, sender)
    if body.amount == 0:
        raise Rejected("amount", "a bond of nothing", value=0, remedy="give an amount above zero")
    if row.leaves_at:
        raise Rejected(
            "worker_leaves", "the worker is leaving", value=sender, remedy="register anew afterwards"
        )
    move(view, sender, Pot.WORK_BONDS, body.amount)
    row = replace(row, bond=Amount(row.bond + body.amount))
    view.put(WORKERS, row, sender)
    return (event("worker.bonded", worker=sender, amount=body.amount, bond=row.bond),)


def edit(view: View, ctx: BlockContext, sender: Address, body: WorkerEdit) -> tuple[Event, ...]:
    """Changes the consensus key: sets that are fixed from now on have the new one."""
    row = worker_of(view, sender)
    if body.consensus_key == row.consensus_key:
        raise Rejected(
            "worker_key", "this is the worker's key", value=body.consensus_key, remedy="give another one"
        )
    _take_key(view, ctx, sender, body.consensus_key, body.proof_of_possession)
    view.put(WORKERS, replace(row, consensus_key=body.consensus_key), sender)
    return (event("worker.edited", worker=sender),)


def leave(view: View, ctx: BlockContext, sender: Address, body: WorkerLeave) -> tuple[Event, ...]:
    """Takes no more work; the bond returns an epoch after the unbonding time, or later while a receipt can still cost it."""
    row = worker_of(view, sender)
    if row.leaves_at:
        raise Rejected(
            "worker_leaves", "the worker is leaving already", value=row.leaves_at, remedy="wait for its bond"
        )
    # A set is fixed two epochs ahead, a validator's one: the evidence of the last with this worker is good for an epoch more.
    row = replace(row, leaves_at=Height(ctx.height + ctx.params.unbonding_blocks + ctx.params.epoch_blocks))
    view.put(WORKERS, row, sender)
    look_at(view, row.leaves_at, Due.BOND, worker=sender)
    return (event("worker.leaves", worker=sender, due=row.leaves_at),)


def return_bond(view: View, ctx: BlockContext, address: Address) -> tuple[Event, ...]:
    """Pays a bond whose time has come, and takes the worker out of the register."""
    row = view.get(WORKERS, address)
    assert row is not None, "a worker stays in the register until its bond returns"
    if row.held:
        look_at(view, ctx.height + ctx.params.epoch_blocks, Due.BOND, worker=address)
        return ()
    move(view, Pot.WORK_BONDS, address, row.bond)
    view.delete(WORKERS, address)
    _count(view, -1)
    return (event("worker.paid", worker=address, amount=row.bond),)


def hold(view: View, address: Address, change: int, **counts: int) -> None:
    """Counts receipts that can cost the bond, and lifetime sums by name."""
    row = view.get(WORKERS, address)
    assert row is not None, "a worker stays in the register while a receipt can cost its bond"
    assert row.held + change >= 0, "what is let go was held"
    sums = {name: lifetime_sum(getattr(row, name), amount) for name, amount in counts.items()}
    view.put(WORKERS, replace(row, held=row.held + change, **sums), address)


def slash(
    view: View, ctx: BlockContext, address: Address, share_bps: int, finder: Address | None = None
) -> tuple[int, int]:
    """Takes a share of a whole bond, as far as there is one: a part burns, a finder gets its share, the rest is the reserve's.

    nanoOMNIT taken, and what of it the finder got.
    """
    row = view.get(WORKERS, address)
    assert row is not None, "whoever is slashed is in the register"
    amount = min(row.bond, ctx.params.worker_bond_min * share_bps // BPS)
    burned = amount * ctx.params.slash_burn_bps // BPS
    found = min(amount - burned, amount * ctx.params.work_finder_bps // BPS) if finder is not None else 0
    burn(view, Pot.WORK_BONDS, burned)
    if finder is not None:
        move(view, Pot.WORK_BONDS, finder, found)
    move(view, Pot.WORK_BONDS, Pot.RESERVE, amount - burned - found)
    row = replace(row, bond=Amount(row.bond - amount), slashed=lifetime_sum(row.slashed, amount))
    view.put(WORKERS, row, address)
    return amount, found
