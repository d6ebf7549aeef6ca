"""Indexes as functions: which index rows follow from a row of the state, and which from a block and its result. No database.

The ledger writes indexes over the state as it goes; what it writes must be what is said here, so that they can be made anew from
the state alone, byte for byte, on a node that has no old blocks. Indexes over history follow from the blocks that a node keeps.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from omnitensor.protocol.blocks import BlockResult
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.types import Height
from state.ledger.prepared import Prepared
from state.records import UNIT, TransactionRef, Vault
from state.records_governance import Vote
from state.records_privacy import SealedSeat
from state.records_review import Batch, Campaign, Item, Seat, Submission
from state.records_stake import Delegation
from state.records_work import Job, ShownOutputs, WorkReceipt
from state.schema import (
    BATCHES,
    BATCHES_BY_CAMPAIGN,
    CAMPAIGNS,
    CAMPAIGNS_BY_CONTENT,
    CAMPAIGNS_BY_SPONSOR,
    DELEGATIONS,
    DELEGATIONS_BY_VALIDATOR,
    EVENTS_BY_ADDRESS,
    ITEMS,
    ITEMS_BY_CAMPAIGN,
    ITEMS_BY_CONTENT,
    ITEMS_BY_CONTRIBUTOR,
    JOBS,
    JOBS_BY_CONTENT,
    JOBS_BY_POSTER,
    JOBS_BY_STATUS,
    OUTPUTS_BY_CONTENT,
    RECEIPTS_BY_STATE,
    RECEIPTS_BY_WORKER,
    SEALED_SEATS,
    SEATS,
    SEATS_BY_VALIDATOR,
    SEATS_TO_GRANT,
    SUBMISSIONS,
    SUBMISSIONS_BY_CONTRIBUTOR,
    TRANSACTIONS_BY_ADDRESS,
    VAULTS,
    VAULTS_BY_HOLDER,
    VOTES,
    VOTES_BY_VOTER,
    WORK_OUTPUTS,
    WORK_RECEIPTS,
    KeyPart,
    Table,
)

_ADDRESS_BYTES: Final = 33

Entry = tuple[Table[Any], tuple[KeyPart, ...], Record]
"""A row of an index: its table, the parts of its key, its value."""
Derive = Callable[[tuple[bytes, ...], Any], Iterator[Entry]]
"""The index rows of a row of the state, from the parts of its key (integers as their bytes) and its value."""


def _of_campaign(key: tuple[bytes, ...], row: Campaign) -> Iterator[Entry]:
    yield CAMPAIGNS_BY_SPONSOR, (row.sponsor, *key), UNIT
    for chunk_root in dict.fromkeys(content.chunk_root for content in row.spec.contents):
        yield CAMPAIGNS_BY_CONTENT, (chunk_root, *key), UNIT


def _of_submission(key: tuple[bytes, ...], row: Submission) -> Iterator[Entry]:
    campaign, commitment, contributor = key
    yield SUBMISSIONS_BY_CONTRIBUTOR, (contributor, campaign, commitment), UNIT


def _of_item(key: tuple[bytes, ...], row: Item) -> Iterator[Entry]:
    yield ITEMS_BY_CAMPAIGN, (row.campaign, *key), UNIT
    yield ITEMS_BY_CONTRIBUTOR, (row.contributor, *key), UNIT
    yield ITEMS_BY_CONTENT, (row.content.chunk_root, *key), UNIT


def _of_batch(key: tuple[bytes, ...], row: Batch) -> Iterator[Entry]:
    yield BATCHES_BY_CAMPAIGN, (row.campaign, *key), UNIT


def _of_seat(key: tuple[bytes, ...], row: Seat) -> Iterator[Entry]:
    batch, round_, validator = key
    yield SEATS_BY_VALIDATOR, (validator, batch, round_), UNIT


def _of_vote(key: tuple[bytes, ...], row: Vote) -> Iterator[Entry]:
    proposal, voter = key
    yield VOTES_BY_VOTER, (voter, proposal), UNIT


def _of_vault(key: tuple[bytes, ...], row: Vault) -> Iterator[Entry]:
    yield VAULTS_BY_HOLDER, (row.holder, *key), UNIT


def _of_delegation(key: tuple[bytes, ...], row: Delegation) -> Iterator[Entry]:
    delegator, validator = key
    yield DELEGATIONS_BY_VALIDATOR, (validator, delegator), UNIT


def _of_job(key: tuple[bytes, ...], row: Job) -> Iterator[Entry]:
    yield JOBS_BY_STATUS, (row.status, *key), UNIT
    if row.poster:
        yield JOBS_BY_POSTER, (row.poster, *key), UNIT
    for content in dict.fromkeys(one.chunk_root for one in (row.model, row.data) if one is not None):
        yield JOBS_BY_CONTENT, (content, *key), UNIT


def _of_work_outputs(key: tuple[bytes, ...], row: ShownOutputs) -> Iterator[Entry]:
    if row.content is not None:
        yield OUTPUTS_BY_CONTENT, (row.content.chunk_root, *key), UNIT


def _of_work_receipt(key: tuple[bytes, ...], row: WorkReceipt) -> Iterator[Entry]:
    job, unit, worker = key
    yield RECEIPTS_BY_WORKER, (worker, job, unit), UNIT
    yield RECEIPTS_BY_STATE, (row.state, *key), UNIT


def _of_sealed_seat(key: tuple[bytes, ...], row: SealedSeat) -> Iterator[Entry]:
    for granter in row.granters:
        yield SEATS_TO_GRANT, (granter, *key), UNIT


OF_STATE: Final[dict[Table[Any], Derive]] = {
    CAMPAIGNS: _of_campaign,
    SUBMISSIONS: _of_submission,
    ITEMS: _of_item,
    BATCHES: _of_batch,
    SEATS: _of_seat,
    VOTES: _of_vote,
    VAULTS: _of_vault,
    DELEGATIONS: _of_delegation,
    JOBS: _of_job,
    WORK_RECEIPTS: _of_work_receipt,
    SEALED_SEATS: _of_sealed_seat,
    WORK_OUTPUTS: _of_work_outputs,
}
"""By table of the state, what indexes have of its rows."""

INDEXES_OF_STATE: Final[tuple[Table[Any], ...]] = (
    CAMPAIGNS_BY_SPONSOR,
    CAMPAIGNS_BY_CONTENT,
    SUBMISSIONS_BY_CONTRIBUTOR,
    ITEMS_BY_CAMPAIGN,
    ITEMS_BY_CONTRIBUTOR,
    ITEMS_BY_CONTENT,
    BATCHES_BY_CAMPAIGN,
    SEATS_BY_VALIDATOR,
    VOTES_BY_VOTER,
    VAULTS_BY_HOLDER,
    DELEGATIONS_BY_VALIDATOR,
    JOBS_BY_POSTER,
    JOBS_BY_STATUS,
    RECEIPTS_BY_WORKER,
    RECEIPTS_BY_STATE,
    SEATS_TO_GRANT,
    JOBS_BY_CONTENT,
    OUTPUTS_BY_CONTENT,
)
INDEXES_OF_HISTORY: Final[tuple[Table[Any], ...]] = (TRANSACTIONS_BY_ADDRESS, EVENTS_BY_ADDRESS)
INDEXES: Final[tuple[Table[Any], ...]] = (*INDEXES_OF_HISTORY, *INDEXES_OF_STATE)
"""All that can be made anew."""


def of_block(
    height: Height, transactions: Sequence[Prepared], result: BlockResult
) -> list[tuple[bytes, bytes]]:
    """Index rows of a block and its result, by whole key: whose each transaction and each of its own events is."""
    rows: list[tuple[bytes, bytes]] = []
    add, head, height_key = rows.append, TRANSACTIONS_BY_ADDRESS.prefix_bytes, height.to_bytes(8, "big")
    for index, (prepared, receipt) in enumerate(zip(transactions, result.receipts, strict=True)):
        place = height_key + index.to_bytes(8, "big")
        reference = encode(TransactionRef(prepared.id))
        sender = prepared.transaction.sender
        add((head + sender + place, reference))
        if receipt.events:
            for address in named_in(receipt.events):
                if address != sender:
                    add((head + address + place, reference))
    for number, event in enumerate(result.events):
        addresses = named_in((event,))
        if addresses:
            encoded = encode(event)
            for address in addresses:
                add((EVENTS_BY_ADDRESS.full_key(address, height, number), encoded))
    return rows


def named_in(events: Sequence[Any]) -> list[bytes]:
    """Addresses that events name, each once: whatever has an address's length (see ``ledger.events``)."""
    found: dict[bytes, None] = {}
    for event in events:
        for _, value in event.fields:
            if type(value) is bytes and len(value) == _ADDRESS_BYTES:
                found[value] = None
    return list(found)
