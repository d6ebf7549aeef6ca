"""What each row of the ledger must be, made from the model alone: one function a table, of the model and the row's key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from state.records import (
    Account,
    Conviction,
    Counter,
    Multisig,
    PotTotal,
    SessionKey,
    Unbonding,
    Unit,
    Validator,
    ValidatorSet,
    Vault,
)
from state.records_attendance import Downtime, EpochAttendance
from state.records_governance import Deposit, ParameterOrigin, PlannedUpgrade, Proposal, Tally, Vote
from state.records_privacy import Grant, ReadingKeyRow, SealedSeat
from state.records_review import (
    Appeal,
    BaseRates,
    Batch,
    BatchGold,
    Campaign,
    Count,
    Earnings,
    Escrow,
    GoldSet,
    Holder,
    Item,
    ItemCounts,
    Payment,
    QueuedItem,
    Reputation,
    Reviewer,
    Seat,
    StatusChange,
    Submission,
)
from state.records_season import Badge, Career, Competition, Payout, Season, Standing
from state.records_stake import (
    Delegation,
    EpochReviews,
    Redelegation,
    RewardIndex,
    StakePool,
    Undelegation,
)
from state.schema import (
    PARAMS,
    number,
)
from tests.model.chain import Model

UNIT = Unit()
ZERO = bytes(32)


def fields_of(row: Any, *without: str) -> dict[str, Any]:
    return {name: value for name, value in row.values().items() if name not in without}


def account(model: Model, key: bytes) -> Any:
    return Account(model.balances.get(key, 0), model.nonces.get(key, 0))


def pot(model: Model, key: bytes) -> Any:
    name = key.decode()
    return PotTotal(sum(model.balances.values()) if name == "accounts" else model.pots.get(name, 0))


def counter(model: Model, key: bytes) -> Any:
    found = model.counters.get(key.decode())
    return None if found is None else Counter(found)


def session(model: Model, key: bytes) -> Any:
    return SessionKey(*model.sessions[key]) if key in model.sessions else None


def listed(model: Model, key: bytes) -> Any:
    return UNIT if key[33:] in model.listed.get(key[:33], ()) else None


def multisig(model: Model, key: bytes) -> Any:
    return Multisig(*model.multisigs[key]) if key in model.multisigs else None


def validator(model: Model, key: bytes) -> Any:
    row = model.validators.get(key)
    return None if row is None else Validator(**row.values())


def unbonding(model: Model, key: bytes) -> Any:
    found = model.unbonding.get((number(key[:8]), key[8:41], number(key[41:])))
    return None if found is None else Unbonding(found)


def unbonding_by_validator(model: Model, key: bytes) -> Any:
    return unbonding(model, key[33:41] + key[:33] + key[41:])


def validator_set(model: Model, key: bytes) -> Any:
    found = model.sets.get(number(key))
    if found is None:
        return None
    seed, voters = found
    return ValidatorSet(seed, tuple(validator_entry(*voter) for voter in voters))


def validator_entry(address: bytes, key: bytes, weight: int) -> Any:
    from omnitensor.protocol.votes import ValidatorEntry

    return ValidatorEntry(address, key, weight)  # type: ignore[arg-type] # bytes of the right length


def conviction(model: Model, key: bytes) -> Any:
    row = model.convictions.get(key)
    return None if row is None else Conviction(evidence=ZERO, **row)


def open_seat(model: Model, key: bytes) -> Any:
    seat = model.seats.get((number(key[33:41]), number(key[41:]), key[:33]))
    batch = model.batches.get(number(key[33:41]))
    open_ = seat is not None and seat.state <= 3 and batch.phase != 3
    return UNIT if open_ else None


def campaign(model: Model, key: bytes) -> Any:
    row = model.campaigns.get(number(key))
    if row is None:
        return None
    plain = fields_of(row, "queue", "open_batches")
    escrow = Escrow(*(plain.pop(name) for name in ("available", "reward", "review", "escalation")))
    counts = ItemCounts(*(plain.pop(name) for name in ItemCounts.__struct_fields__))
    rates = BaseRates(plain.pop("ones"), plain.pop("totals"))
    gold = BaseRates(plain.pop("gold_ones"), plain.pop("gold_totals"))
    return Campaign(escrow=escrow, counts=counts, base_rates=rates, gold_rates=gold, **plain)


def submission(model: Model, key: bytes) -> Any:
    row = model.submissions.get((number(key[:8]), key[8:40], key[40:]))
    return None if row is None else Submission(**row.values())


def submissions_open(model: Model, key: bytes) -> Any:
    mine = sum(each[2] == key for each in model.unrevealed.values())
    return Count(mine) if mine else None


def contributor(model: Model, key: bytes) -> Any:
    found = model.admitted_by.get((number(key[:8]), key[8:]))
    return None if found is None else Count(found)


def item(model: Model, key: bytes) -> Any:
    row = model.items.get(number(key))
    if row is None:
        return None
    history = tuple(StatusChange(*change) for change in row.history)
    return Item(history=history, **fields_of(row, "history"))


def holder(by: str) -> Callable[[Model, bytes], Any]:
    def found(model: Model, key: bytes) -> Any:
        row = model.holders.get((number(key[:8]), by, key[8:]))
        return None if row is None else Holder(*row)

    return found


def queued(model: Model, key: bytes) -> Any:
    campaign_row = model.campaigns.get(number(key[:8]))
    row = campaign_row.queue.get(number(key[8:])) if campaign_row else None
    return None if row is None else QueuedItem(*row)


def batch(model: Model, key: bytes) -> Any:
    row = model.batches.get(number(key))
    if row is None:
        return None
    return Batch(gold=tuple(BatchGold(*each) for each in row.gold), **fields_of(row, "next_try", "gold"))


def reading_key(model: Model, key: bytes) -> Any:
    found = model.reading_keys.get(key)
    return None if found is None else ReadingKeyRow(*found)


def sealed_seat(model: Model, key: bytes) -> Any:
    row = model.sealed_seats.get((number(key[:8]), key[8:]))
    return None if row is None else SealedSeat(**row.values())


def grant(model: Model, key: bytes) -> Any:
    found = model.grants.get((number(key[:8]), number(key[8:16]), key[16:]))
    return None if found is None else Grant(*found)


def appeal(model: Model, key: bytes) -> Any:
    row = model.appeals.get(number(key))
    return None if row is None else Appeal(**row.values())


def gold_set(model: Model, key: bytes) -> Any:
    row = model.gold_sets.get(number(key))
    return None if row is None else GoldSet(**row.values())


def seat(model: Model, key: bytes) -> Any:
    row = model.seats.get((number(key[:8]), number(key[8:16]), key[16:]))
    return None if row is None else Seat(**row.values())


def reviewer(model: Model, key: bytes) -> Any:
    row = model.reviewers.get(key)
    if row is None:
        return None
    sums = Reputation(*row.total, *row.gold, *row.peer)
    return Reviewer(sums, row.seats_open, row.reports, row.missed)


def earnings(model: Model, key: bytes) -> Any:
    row = model.earnings.get(key)
    if row is None:
        return Earnings(0, 0, 0, 0, 0, 0, 0, 0, ())
    recent = tuple(Payment(*payment) for payment in row.recent)
    return Earnings(recent=recent, **fields_of(row, "recent"))


def params(model: Model, key: bytes) -> Any:
    if key == b"next" and model.later.values() == model.now.values():
        return None
    return PARAMS.value_type(**(model.later if key else model.now).values())


def vault(model: Model, key: bytes) -> Any:
    row = model.vaults.get(key)
    return None if row is None else Vault(**row.values())


def proposal(model: Model, key: bytes) -> Any:
    row = model.proposals.get(number(key))
    if row is None:
        return None
    return Proposal(
        tally=Tally(*row.tally), reason="given" if row.reason else "", **fields_of(row, "tally", "reason")
    )


def deposit(model: Model, key: bytes) -> Any:
    found = model.deposits.get((number(key[:8]), key[8:]))
    return None if found is None else Deposit(found)


def vote(model: Model, key: bytes) -> Any:
    found = model.votes.get((number(key[:8]), key[8:]))
    return None if found is None else Vote(*found)


def open_proposal(model: Model, key: bytes) -> Any:
    row = model.proposals.get(number(key[8:]))
    return UNIT if row is not None and row.status == number(key[:8]) <= 2 else None


def proposal_due(model: Model, key: bytes) -> Any:
    height, status, name = number(key[:8]), number(key[8:16]), number(key[16:])
    row = model.proposals.get(name)
    open_ = row is not None and row.status == status <= 2
    return UNIT if open_ and height == due_of(row) else None


def due_of(row: Any) -> int:
    return int((row.deposit_until, row.voting_until, row.executes_at)[row.status])


def upgrade(model: Model, key: bytes) -> Any:
    found = model.upgrades.get(number(key))
    return None if found is None else PlannedUpgrade(*found)


def origin(model: Model, key: bytes) -> Any:
    found = model.origins.get(key.decode())
    return None if found is None else ParameterOrigin(*found)


def underway(model: Model) -> list[tuple[int, Any]]:
    return [(name, row) for name, row in model.proposals.items() if row.status <= 2]


def fixed(number_: int) -> bytes:
    return number_.to_bytes(16, "big")


def delegation(model: Model, key: bytes) -> Any:
    row = model.delegations.get((key[:33], key[33:]))
    return None if row is None else Delegation(row.shares, row.joining, row.joined, fixed(row.index))


def triple(key: bytes) -> tuple[bytes, bytes, int]:
    return key[:33], key[33:66], number(key[66:])


def undelegation(model: Model, key: bytes) -> Any:
    row = model.undelegations.get(triple(key))
    if row is None:
        return None
    scales = {name: fixed(getattr(row, name)) for name in ("scale", "source_scale")}
    return Undelegation(**scales, **fields_of(row, *scales))


def redelegation(model: Model, key: bytes) -> Any:
    row = model.redelegations.get(triple(key))
    return None if row is None else Redelegation(scale=fixed(row.scale), **fields_of(row, "scale"))


def maturity(model: Model, key: bytes) -> Any:
    place = triple(key[8:])
    row = model.undelegations.get(place) or model.redelegations.get(place)
    return UNIT if row is not None and row.due == number(key[:8]) else None


def pool(model: Model, key: bytes) -> Any:
    row = model.pools.get(key)
    if row is None:
        return None
    numbers = {name: fixed(getattr(row, name)) for name in ("index", "scale")}
    return StakePool(**numbers, **fields_of(row, *numbers))


def said(row: Any) -> bool:
    """Whether a pool differs from one that nobody touched."""
    return any(value for name, value in row.values().items() if name != "scale") or row.scale != 10**36


def reward_index(model: Model, key: bytes) -> Any:
    row = model.joined.get((key[:33], number(key[33:])))
    return None if row is None else RewardIndex(fixed(row[0]), *row[1:])


def reviews(model: Model, key: bytes) -> Any:
    return EpochReviews(*model.reviewed[key]) if key in model.reviewed else None


def attendance(model: Model, key: bytes) -> Any:
    row = model.attendance.get(number(key))
    return None if row is None else EpochAttendance(*row)


def downtime(model: Model, key: bytes) -> Any:
    row = model.downtime.get(key)
    return None if row is None else Downtime(*row)


def season(model: Model, key: bytes) -> Any:
    row = model.seasons.get(number(key))
    return FIRST_SEASON if row is None else Season(**row.values())


def board_key(key: bytes) -> tuple[int, int, bytes]:
    return number(key[:8]), number(key[8:16]), key[-33:]


def standing(model: Model, key: bytes) -> Any:
    row = model.standings.get(board_key(key))
    return NO_STANDING if row is None else Standing(**row.values())


def place(model: Model, key: bytes) -> Any:
    row = model.standings.get(board_key(key))
    return UNIT if row is not None and row.value and row.value == 2**64 - 1 - number(key[16:24]) else None


def badge(model: Model, key: bytes) -> Any:
    row = model.badges.get((key[:33], number(key[33:41]), number(key[41:])))
    return None if row is None else Badge(*row)


def career(model: Model, key: bytes) -> Any:
    row = model.careers.get(key)
    return NO_CAREER if row is None else Career(**row.values())


def competition(model: Model, key: bytes) -> Any:
    row = model.competitions.get(number(key))
    return None if row is None else Competition(**row.values())


def competition_of(model: Model, key: bytes) -> Any:
    row = model.competitions.get(number(key[8:]))
    return UNIT if row is not None and row.campaign == number(key[:8]) else None


def payout(model: Model, key: bytes) -> Any:
    place_ = (number(key[:8]), number(key[8:16]), number(key[16:]))
    return Payout(0, 0, b"") if place_ in model.payouts else None


FIRST_SEASON = Season(0, 0, 0, (), 0, 0, 0)  # type: ignore[arg-type] # literal numbers
NO_STANDING = Standing(0, 0, 0, 0)  # type: ignore[arg-type] # literal numbers
NO_CAREER = Career(0, 0, 0)


def eight(value: int) -> bytes:
    return value.to_bytes(8, "big")
