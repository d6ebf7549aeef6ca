"""Methods account.* and stake.*: balances, session keys, earnings, validators. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.rows import account_key
from omnitensor.protocol.types import Address, Epoch, Height, PublicKey
from rpc import present
from rpc.errors import not_found
from rpc.fields import (
    AddressText,
    AmountText,
    Count,
    Cursor,
    HashText,
    Limit,
    WithProof,
    address_of,
    hash_of,
    shown,
)
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.ledger import attendance, epochs, standings
from state.ledger.pools import pool_of
from state.ledger.reputation import FRESH, quality
from state.ledger.validators import power
from state.reader import Reader
from state.records import Validator
from state.records_review import Earnings
from state.schema import (
    DOWNTIME,
    EARNINGS,
    REVIEWERS,
    SESSION_KEYS,
    SESSION_KEYS_BY_OWNER,
    UNBONDING_BY_VALIDATOR,
    VALIDATORS,
    number,
)


class AddressParams(Params, frozen=True):
    address: AddressText


class AccountParams(Params, frozen=True):
    address: AddressText
    proof: WithProof = False


ALLOWANCE_SHOWN: Final = "What is left of what it may spend of the account's balance: fees, tips and bonds"


class SessionKeyShown(Result, frozen=True):
    key: HashText
    scopes: list[str]
    valid_until: Annotated[Count, Meta(description="The last height at which it may sign")]
    allowance: Annotated[AmountText, Meta(description=ALLOWANCE_SHOWN)]


class AccountShown(Result, frozen=True):
    address: AddressText
    balance: AmountText
    nonce: Annotated[Count, Meta(description="Transactions that the account has had in blocks")]
    next_nonce: Annotated[Count, Meta(description="The same, counting those that wait in this node")]
    stake: Annotated[AmountText, Meta(description="What its validator has at stake")]
    session_keys: list[SessionKeyShown]
    proof: Annotated[
        RowProof | UnsetType, Meta(description="Of balance and nonce, or that both are zero")
    ] = UNSET


@TABLE.method("account.get")
def account(context: Context, params: AccountParams) -> AccountShown:
    """An account's balance, nonce, stake and session keys; one never seen is empty."""
    address, reader = address_of(params.address), context.reader
    row, validator = reader.account(address), reader.get(VALIDATORS, address)
    keys = []
    for key, _ in reader.scan(SESSION_KEYS_BY_OWNER, address):
        session = reader.get(SESSION_KEYS, key)
        assert session is not None, "an index names what is there"
        keys.append(
            SessionKeyShown(
                key=key.hex(),
                scopes=present.scopes(session.scopes),
                valid_until=session.valid_until,
                allowance=present.amount_text(session.allowance),
            )
        )
    return AccountShown(
        address=shown(address),
        balance=present.amount_text(row.balance),
        nonce=row.nonce,
        next_nonce=max(row.nonce, context.backend.next_nonce(address)),
        stake=present.amount_text(validator.stake if validator else 0),
        session_keys=keys,
        proof=row_proof(reader, account_key(address)) if params.proof else UNSET,
    )


class KeyParams(Params, frozen=True):
    key: HashText


class SessionShown(Result, frozen=True):
    owner: AddressText
    scopes: list[str]
    valid_until: Annotated[Count, Meta(description="The last height at which it may sign")]
    allowance: Annotated[AmountText, Meta(description=ALLOWANCE_SHOWN)]


@TABLE.method("account.session")
def session(context: Context, params: KeyParams) -> SessionShown:
    """The account that lets a session key sign, for what, and how much it may still spend."""
    key = PublicKey(hash_of(params.key))
    row = context.reader.get(SESSION_KEYS, key)
    # The row of one that was removed stays, for evidence; it is listed no more.
    if row is None or context.reader.get(SESSION_KEYS_BY_OWNER, Address(row.owner), key) is None:
        raise not_found("session key", params.key, "make one with: otensor-cli api-key create")
    return SessionShown(
        owner=shown(row.owner),
        scopes=present.scopes(row.scopes),
        valid_until=row.valid_until,
        allowance=present.amount_text(row.allowance),
    )


class PaymentShown(Result, frozen=True):
    height: Count
    timestamp_ms: Count
    kind: str
    amount: AmountText
    campaign: Count | None
    item: Count | None
    batch: Count | None


class RewardsShown(Result, frozen=True):
    address: AddressText
    balance: AmountText
    earned: Annotated[dict[str, AmountText], Meta(description="In its lifetime, by kind")]
    pending: Annotated[AmountText, Meta(description="Accepted, and paid when the challenge window ends")]
    penalties: AmountText
    items: Annotated[dict[str, Count], Meta(description="Its items by what became of them")]
    recent: list[PaymentShown]


_NOTHING = Earnings(0, 0, 0, 0, 0, 0, 0, 0, ())


@TABLE.method("account.rewards")
def rewards(context: Context, params: AddressParams) -> RewardsShown:
    """What an account has earned by contributing and reviewing, what is still to come, and its latest payments."""
    address = address_of(params.address)
    row = context.reader.get(EARNINGS, address) or _NOTHING
    career = standings.career(context.reader, address)
    return RewardsShown(
        address=shown(address),
        balance=present.amount_text(context.reader.account(address).balance),
        earned={
            "contribution": str(row.contribution),
            "review": str(row.review),
            "participation": str(career.participation),
            "prizes": str(career.prizes),
        },
        pending=str(row.pending),
        penalties=str(row.penalties),
        items={
            "submitted": row.items_submitted,
            "accepted": row.items_accepted,
            "rejected": row.items_rejected,
            "undecided": row.items_undecided,
        },
        recent=[
            PaymentShown(
                height=one.height,
                timestamp_ms=one.timestamp_ms,
                kind=one.kind,
                amount=present.amount_text(one.amount),
                campaign=one.campaign or None,
                item=one.item or None,
                batch=one.batch or None,
            )
            for one in row.recent
        ],
    )


class UnbondingShown(Result, frozen=True):
    amount: AmountText
    height: Annotated[Count, Meta(description="When it is paid")]


class AttendanceShown(Result, frozen=True):
    epoch: Count
    blocks: Annotated[Count, Meta(description="Blocks of the epoch that are counted so far")]
    named: Annotated[Count, Meta(description="Those that name it as a voter of the block below")]
    share_bps: Count


class ValidatorShown(Result, frozen=True):
    address: AddressText
    name: str
    stake: AmountText
    held: Annotated[AmountText, Meta(description="Bonded to open seats, out of the stake")]
    delegated: Annotated[AmountText, Meta(description="What others delegated to it")]
    power: Annotated[AmountText, Meta(description="Stake and delegated together: what votes weigh by")]
    leaving: Annotated[AmountText, Meta(description="Delegated stake on its way back to its delegators")]
    rewards: Annotated[AmountText, Meta(description="Its own rewards and commission that it can claim")]
    unbonding: list[UnbondingShown]
    jailed: Annotated[
        bool, Meta(description="It is drawn for no seat, and is in no set from the next epoch on")
    ]
    jailed_until: Annotated[
        Count | None,
        Meta(
            description="Height from which on `validator_unjail` lets it out; null where it is in none, or for good"
        ),
    ]
    absent_epochs: Annotated[
        Count, Meta(description="Epochs in a row, up to the last that is over, that it was absent in")
    ]
    attendance: Annotated[
        list[AttendanceShown],
        Meta(description="In the epoch under way, then in the one before, as far as it votes in them"),
    ]
    removed: Annotated[bool, Meta(description="It contradicted itself, and is never a validator again")]
    votes: Annotated[bool, Meta(description="Whether it is among the voters of the epoch")]
    votes_next: Annotated[
        bool, Meta(description="Whether it would be among the next epoch's, were its boundary now")
    ]
    reputation: Annotated[int, Meta(description="Standing as a reviewer, in basis points")]
    commission_bps: Count
    commission_raise_from: Annotated[
        Count, Meta(description="The height from which on its commission may be raised again")
    ]
    registered_at: Count
    reports: Annotated[Count, Meta(description="Reports of it that were scored")]
    missed: Annotated[Count, Meta(description="Seats whose report did not come")]
    seats_open: Count


@dataclass(frozen=True, slots=True)
class Attended:
    """What is counted of an epoch, by voter."""

    epoch: Epoch
    blocks: int
    votes: dict[Address, int]

    @classmethod
    def of(cls, reader: Reader, epoch: Epoch) -> Attended:
        voters = epochs.validator_set(reader, epoch)
        if voters is None:
            return cls(epoch, 0, {})
        row = attendance.of_epoch(reader, epoch)
        addresses = (entry.address for entry in voters.entries)
        return cls(epoch, row.blocks, dict(zip(addresses, row.votes, strict=True)))


@dataclass(frozen=True, slots=True)
class Voting:
    """Who votes in the epoch, and who would in the next."""

    epoch: Epoch
    now: frozenset[Address]
    following: frozenset[Address]
    attended: tuple[Attended, ...]
    """Of the epoch under way, then of the one before."""

    @classmethod
    def of(cls, reader: Reader) -> Voting:
        params = reader.params()
        epoch = epoch_of(Height(reader.head.height + 1), params)
        table = epochs.table_of(reader, epoch)
        assert table is not None, "the set of the epoch under way is never forgotten"
        chosen = epochs.choose(reader, params) or table.entries
        return cls(
            epoch,
            frozenset(entry.address for entry in table.entries),
            frozenset(entry.address for entry in chosen),
            tuple(Attended.of(reader, Epoch(each)) for each in (epoch, epoch - 1) if each >= 0),
        )


def _validator(reader: Reader, address: Address, row: Validator, voting: Voting) -> ValidatorShown:
    reviewer = reader.get(REVIEWERS, address)
    away = reader.get(DOWNTIME, address)
    return ValidatorShown(
        address=shown(address),
        name=row.name,
        stake=present.amount_text(row.stake),
        held=present.amount_text(row.held),
        delegated=present.amount_text(row.delegated),
        power=present.amount_text(power(row)),
        leaving=present.amount_text(row.leaving),
        rewards=present.amount_text(pool_of(reader, address).owed),
        unbonding=[
            UnbondingShown(amount=present.amount_text(part.amount), height=number(key[:8]))
            for key, part in reader.scan(UNBONDING_BY_VALIDATOR, address)
        ],
        jailed=row.jailed,
        jailed_until=away.until if away is not None and away.until and not row.removed else None,
        absent_epochs=0 if away is None else away.epochs,
        attendance=[
            AttendanceShown(
                epoch=each.epoch,
                blocks=each.blocks,
                named=each.votes[address],
                share_bps=attendance.share_bps(each.votes[address], each.blocks),
            )
            for each in voting.attended
            if address in each.votes
        ],
        removed=row.removed,
        votes=address in voting.now,
        votes_next=address in voting.following,
        reputation=quality(reviewer.reputation if reviewer else FRESH, reader.params()),
        commission_bps=row.commission_bps,
        commission_raise_from=row.commission_raised_at + reader.params().commission_wait_blocks,
        registered_at=row.registered_at,
        reports=reviewer.reports if reviewer else 0,
        missed=reviewer.missed if reviewer else 0,
        seats_open=reviewer.seats_open if reviewer else 0,
    )


class ValidatorsParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = 100


class ValidatorsPage(Result, frozen=True):
    epoch: Annotated[Count, Meta(description="The epoch that votes now")]
    validators: list[ValidatorShown]
    next: Cursor | None


@TABLE.method("stake.validators", heavy=True)
def validators(context: Context, params: ValidatorsParams) -> ValidatorsPage:
    """Every registered validator, by address."""
    reader, found = context.reader, list[ValidatorShown]()
    voting = Voting.of(reader)
    start = address_of(params.cursor) if params.cursor is not None else b""
    for key, row in reader.scan(VALIDATORS, start=start):
        if len(found) == params.limit:
            return ValidatorsPage(epoch=voting.epoch, validators=found, next=shown(Address(key)))
        found.append(_validator(reader, Address(key), row, voting))
    return ValidatorsPage(epoch=voting.epoch, validators=found, next=None)


@TABLE.method("stake.validator")
def validator(context: Context, params: AddressParams) -> ValidatorShown:
    """One validator's stake, what is held or on its way back, and its standing as a reviewer."""
    address = address_of(params.address)
    row = context.reader.get(VALIDATORS, address)
    if row is None:
        raise not_found("validator", params.address, "register with: otensor-cli validator register")
    return _validator(context.reader, address, row, Voting.of(context.reader))
