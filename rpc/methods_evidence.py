"""Method chain.evidence: evidence that the node holds, and what was proved on chain. Reads only."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from omnitensor.protocol.codec import encode
from omnitensor.protocol.evidence import ConflictingVotes, Evidence, Fault
from omnitensor.protocol.types import Address
from rpc import present
from rpc.fields import (
    LIMIT_DEFAULT,
    AddressText,
    AmountText,
    Count,
    Cursor,
    HashText,
    HexText,
    Limit,
    address_of,
)
from rpc.table import TABLE, Context, Params, Result
from state.ledger.evidence import culprits_of
from state.reader import Reader
from state.schema import CONVICTIONS

FaultName = Literal["notarize_twice", "finalize_twice", "skip_and_finalize"]


class Held(Result, frozen=True):
    id: HashText
    kind: Literal["votes", "certificates"]
    fault: FaultName
    epoch: Count
    view: Count
    validators: Annotated[list[AddressText], Meta(description="Whom it convicts")]
    encoded: Annotated[HexText, Meta(description="Its canonical bytes, for an evidence_submit transaction")]


class Convicted(Result, frozen=True):
    validator: AddressText
    fault: FaultName
    epoch: Count
    view: Count
    evidence: HashText
    height: Count
    reporter: AddressText
    slashed: AmountText
    burned: AmountText
    reward: AmountText


class EvidenceShown(Result, frozen=True):
    pool: Annotated[list[Held], Meta(description="What this node holds and is not on chain yet")]
    convictions: Annotated[list[Convicted], Meta(description="On chain, by validator's address")]
    next: Cursor | None


class EvidenceParams(Params, frozen=True):
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


@TABLE.method("chain.evidence")
def evidence(context: Context, params: EvidenceParams) -> EvidenceShown:
    """Validators that contradicted themselves: evidence that waits to be submitted, and convictions on chain."""
    reader = context.reader
    start = b"" if params.cursor is None else address_of(params.cursor)
    found: list[Convicted] = []
    following: Cursor | None = None
    for key, row in reader.scan(CONVICTIONS, start=start):
        address = present.address_text(Address(key))
        if len(found) == params.limit:
            following = address
            break
        found.append(
            Convicted(
                validator=address,
                fault=_name(Fault(row.fault)),
                epoch=row.epoch,
                view=row.view,
                evidence=row.evidence.hex(),
                height=row.height,
                reporter=present.address_text(row.reporter),
                slashed=present.amount_text(row.slashed),
                burned=present.amount_text(row.burned),
                reward=present.amount_text(row.reward),
            )
        )
    pool = [_held(reader, each) for each in context.backend.evidence()]
    return EvidenceShown(pool=pool, convictions=found, next=following)


def _held(reader: Reader, evidence: Evidence) -> Held:
    culprits = culprits_of(reader, evidence)
    return Held(
        id=evidence.id.hex(),
        kind="votes" if isinstance(evidence, ConflictingVotes) else "certificates",
        fault=_name(evidence.fault),
        epoch=evidence.epoch,
        view=evidence.view,
        validators=[present.address_text(address) for address in culprits],
        encoded=encode(evidence).hex(),
    )


def _name(fault: Fault) -> FaultName:
    match fault:
        case Fault.NOTARIZE_TWICE:
            return "notarize_twice"
        case Fault.FINALIZE_TWICE:
            return "finalize_twice"
        case Fault.SKIP_AND_FINALIZE:
            return "skip_and_finalize"
