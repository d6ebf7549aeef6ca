"""Methods stake.* about delegated stake: delegations, what leaves them, rewards owed, and what stake earns. Reads only."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.rows import delegation_key
from omnitensor.protocol.types import ADDRESS_BYTES, BPS, Address, Epoch, Height
from rpc import present
from rpc.cursors import bad_cursor
from rpc.errors import not_found
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    Limit,
    WithProof,
    address_of,
    shown,
)
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.ledger import delegations, epochs, rewards
from state.ledger.accounts import Pot, pot
from state.ledger.pools import Scale, kept, pool_of, scale_of, wide, worth
from state.reader import Reader
from state.records_stake import Delegation, Redelegation, Undelegation
from state.schema import (
    DELEGATIONS,
    DELEGATIONS_BY_VALIDATOR,
    REDELEGATIONS,
    UNDELEGATIONS,
    VALIDATORS,
)


class DelegationShown(Result, frozen=True):
    account: AddressText
    validator: AddressText
    amount: Annotated[AmountText, Meta(description="What it is worth now")]
    shares: Annotated[AmountText, Meta(description="Its shares in what is delegated to the validator")]
    joining: Annotated[AmountText, Meta(description="Of the amount, what earns from the next epoch on")]
    under_way: Annotated[
        AmountText, Meta(description="Of the amount, what came by redelegations that have not landed")
    ]
    rewards: Annotated[AmountText, Meta(description="What can be claimed")]
    proof: Annotated[RowProof | UnsetType, Meta(description="Of the delegation's row, or its absence")] = (
        UNSET
    )


def _delegation(reader: Reader, account: Address, validator: Address, held: Delegation) -> DelegationShown:
    row = reader.get(VALIDATORS, validator)
    assert row is not None, "a delegation has its validator"
    epoch = _epoch(reader)
    joining = held.joining if held.joined == epoch else 0
    under_way = sum(_kept(reader, lot) for _, lot in reader.scan(REDELEGATIONS, account, validator))
    owes = sum(lot.shares - _kept(reader, lot) for _, lot in reader.scan(REDELEGATIONS, account, validator))
    return DelegationShown(
        account=shown(account),
        validator=shown(validator),
        amount=present.amount_text(worth(row, held.shares - owes)),
        shares=present.amount_text(held.shares),
        joining=present.amount_text(worth(row, min(joining, held.shares - owes))),
        under_way=present.amount_text(worth(row, under_way)),
        rewards=present.amount_text(rewards.owed(reader, epoch, validator, held)),
    )


def _kept(reader: Reader, lot: Redelegation) -> int:
    """Shares of a redelegation that its source's slashes left, looked at or not."""
    return kept(lot.shares, Scale(lot.generation, wide(lot.scale)), scale_of(reader, lot.source))


def _epoch(reader: Reader) -> Epoch:
    """The epoch of the block above the head."""
    return epoch_of(Height(reader.head.height + 1), reader.params())


class DelegationParams(Params, frozen=True):
    account: AddressText
    validator: AddressText
    proof: WithProof = False


@TABLE.method("stake.delegation")
def delegation(context: Context, params: DelegationParams) -> DelegationShown:
    """What one account delegates to one validator, and the rewards that it can claim."""
    reader, account, validator = context.reader, address_of(params.account), address_of(params.validator)
    held = reader.get(DELEGATIONS, account, validator)
    if held is None:
        raise not_found("delegation", params.validator, "list them with: otensor-cli stake status")
    found = _delegation(reader, account, validator, held)
    if not params.proof:
        return found
    return replace(found, proof=row_proof(reader, delegation_key(account, validator)))


class StakerPageParams(Params, frozen=True):
    account: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class DelegationsPage(Result, frozen=True):
    delegations: list[DelegationShown]
    next: Cursor | None


@TABLE.method("stake.delegations", heavy=True)
def delegations_of(context: Context, params: StakerPageParams) -> DelegationsPage:
    """What an account delegates, by validator."""
    reader, account, found = context.reader, address_of(params.account), list[DelegationShown]()
    start = b"" if params.cursor is None else address_of(params.cursor)
    for key, held in reader.scan(DELEGATIONS, account, start=start):
        if len(found) == params.limit:
            return DelegationsPage(delegations=found, next=shown(Address(key)))
        found.append(_delegation(reader, account, Address(key), held))
    return DelegationsPage(delegations=found, next=None)


class ValidatorPageParams(Params, frozen=True):
    validator: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


@TABLE.method("stake.delegators", heavy=True)
def delegators(context: Context, params: ValidatorPageParams) -> DelegationsPage:
    """What is delegated to a validator, by delegator."""
    reader, validator, found = context.reader, address_of(params.validator), list[DelegationShown]()
    start = b"" if params.cursor is None else address_of(params.cursor)
    for key, _ in reader.scan(DELEGATIONS_BY_VALIDATOR, validator, start=start):
        if len(found) == params.limit:
            return DelegationsPage(delegations=found, next=shown(Address(key)))
        held = reader.get(DELEGATIONS, key, validator)
        assert held is not None, "an index names what is there"
        found.append(_delegation(reader, Address(key), validator, held))
    return DelegationsPage(delegations=found, next=None)


class UndelegationShown(Result, frozen=True):
    validator: AddressText
    amount: Annotated[AmountText, Meta(description="What is left of it now; slashed until it is paid")]
    since: Count
    due: Annotated[Count, Meta(description="The height at which it is paid")]
    source: Annotated[
        AddressText | None,
        Meta(description="A validator that it came from shortly before, and answers for too"),
    ]


class UndelegationsPage(Result, frozen=True):
    undelegations: list[UndelegationShown]
    next: Cursor | None


@TABLE.method("stake.undelegations")
def undelegations(context: Context, params: StakerPageParams) -> UndelegationsPage:
    """Delegated stake on its way back to an account, by validator."""
    reader, account, found = context.reader, address_of(params.account), list[UndelegationShown]()
    for key, row in reader.scan(UNDELEGATIONS, account, start=_place(params.cursor)):
        if len(found) == params.limit:
            return UndelegationsPage(undelegations=found, next=key.hex())
        found.append(_undelegation(reader, Address(key[:ADDRESS_BYTES]), row))
    return UndelegationsPage(undelegations=found, next=None)


def _undelegation(reader: Reader, validator: Address, row: Undelegation) -> UndelegationShown:
    _, left = delegations.undelegated_worth(reader, validator, row)
    return UndelegationShown(
        validator=shown(validator),
        amount=present.amount_text(left),
        since=row.since,
        due=row.due,
        source=format_address(Address(row.source)) if row.source else None,
    )


class RedelegationShown(Result, frozen=True):
    source: AddressText
    target: AddressText
    amount: Annotated[AmountText, Meta(description="What it is worth now, at the target")]
    since: Count
    due: Annotated[Count, Meta(description="The height at which it lands, and is free of its source")]


class RedelegationsPage(Result, frozen=True):
    redelegations: list[RedelegationShown]
    next: Cursor | None


@TABLE.method("stake.redelegations")
def redelegations(context: Context, params: StakerPageParams) -> RedelegationsPage:
    """An account's redelegations under way, by target."""
    reader, account, found = context.reader, address_of(params.account), list[RedelegationShown]()
    for key, lot in reader.scan(REDELEGATIONS, account, start=_place(params.cursor)):
        if len(found) == params.limit:
            return RedelegationsPage(redelegations=found, next=key.hex())
        target = Address(key[:ADDRESS_BYTES])
        row = reader.get(VALIDATORS, target)
        assert row is not None, "a redelegation has its target"
        found.append(
            RedelegationShown(
                source=shown(lot.source),
                target=shown(target),
                amount=present.amount_text(worth(row, _kept(reader, lot))),
                since=lot.since,
                due=lot.due,
            )
        )
    return RedelegationsPage(redelegations=found, next=None)


def _place(cursor: str | None) -> bytes:
    """Validator and number in a cursor."""
    if cursor is None:
        return b""
    try:
        place = bytes.fromhex(cursor)
    except ValueError as error:
        raise bad_cursor(cursor) from error
    if len(place) != ADDRESS_BYTES + 8:
        raise bad_cursor(cursor)
    return place


class RewardShown(Result, frozen=True):
    validator: AddressText
    amount: AmountText


class StakeRewards(Result, frozen=True):
    account: AddressText
    total: Annotated[AmountText, Meta(description="All that can be claimed")]
    validator: Annotated[AmountText, Meta(description="Of it, what the account earned as a validator")]
    delegations: Annotated[list[RewardShown], Meta(description="And of each delegation, by validator")]


class StakerParams(Params, frozen=True):
    account: AddressText


@TABLE.method("stake.rewards")
def rewards_of(context: Context, params: StakerParams) -> StakeRewards:
    """What an account can claim of past epochs' rewards; an account has few delegations, so this is no list of pages."""
    reader, account = context.reader, address_of(params.account)
    own = pool_of(reader, account).owed
    found = [
        (Address(key), rewards.owed(reader, _epoch(reader), Address(key), held))
        for key, held in reader.scan(DELEGATIONS, account)
    ]
    return StakeRewards(
        account=shown(account),
        total=present.amount_text(own + sum(amount for _, amount in found)),
        validator=present.amount_text(own),
        delegations=[
            RewardShown(validator=shown(address), amount=present.amount_text(amount))
            for address, amount in found
        ],
    )


class AprParams(Params, frozen=True):
    validator: AddressText | None = None


class AprShown(Result, frozen=True):
    base_bps: Annotated[Count, Meta(description="Of active stake, basis points a year")]
    votes_bps: Annotated[Count, Meta(description="More of it at full attendance")]
    reviews_bps: Annotated[Count, Meta(description="More of it for faultless reviews")]
    commission_bps: Annotated[Count, Meta(description="The validator's; 0 where none was named")]
    delegator_min_bps: Annotated[Count, Meta(description="What a delegator keeps of the base, a year")]
    delegator_max_bps: Annotated[Count, Meta(description="And with everything more that there can be")]
    epoch: Count
    epoch_ms: Annotated[Count, Meta(description="How long an epoch takes at least")]
    active: Annotated[AmountText, Meta(description="What earns in this epoch, of all its voters or the one")]
    reserve: Annotated[AmountText, Meta(description="What rewards are paid from")]
    unclaimed: Annotated[AmountText, Meta(description="What was paid for and not claimed yet")]


@TABLE.method("stake.apr", heavy=True)
def apr(context: Context, params: AprParams) -> AprShown:
    """What stake earns a year, and from what; a claim does not stake by itself, so nothing is compounded in these numbers."""
    reader, chain = context.reader, context.reader.params()
    epoch, commission = _epoch(reader), 0
    voters = epochs.table_of(reader, epoch)
    members = [] if voters is None else [entry.address for entry in voters.entries]
    if params.validator is not None:
        wanted = address_of(params.validator)
        named = reader.get(VALIDATORS, wanted)
        if named is None:
            raise not_found("validator", params.validator, "list them with: otensor-cli validator list")
        commission, members = named.commission_bps, [each for each in members if each == wanted]
    active = 0
    for address in members:
        row = reader.get(VALIDATORS, address)
        if row is not None and not row.removed:
            active += rewards.earning_of(reader, epoch, address, row).total
    most = chain.reward_base_bps + chain.reward_votes_bps + chain.reward_reviews_bps
    return AprShown(
        base_bps=chain.reward_base_bps,
        votes_bps=chain.reward_votes_bps,
        reviews_bps=chain.reward_reviews_bps,
        commission_bps=commission,
        delegator_min_bps=chain.reward_base_bps * (BPS - commission) // BPS,
        delegator_max_bps=most * (BPS - commission) // BPS,
        epoch=epoch,
        epoch_ms=chain.epoch_blocks * chain.block_interval_ms,
        active=present.amount_text(active),
        reserve=present.amount_text(pot(reader, Pot.RESERVE)),
        unclaimed=present.amount_text(pot(reader, Pot.REWARDS)),
    )
