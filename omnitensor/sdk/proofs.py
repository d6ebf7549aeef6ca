"""Headers, proofs and voters as a node shows them in JSON, made into records again for the light client to check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from omnitensor.light import Step
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import Record, decode, encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.merkle import Inclusion
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import U64_MAX, Address, BlsPublicKey, Epoch
from omnitensor.protocol.votes import (
    Candidate,
    Certificate,
    FinalityProof,
    ValidatorEntry,
    ValidatorTable,
    VoteKind,
)
from omnitensor.sdk.errors import ResponseError
from omnitensor.sdk.results import (
    LeafProof,
    RowProof,
    StepInfo,
    TableEntry,
    VoterInfo,
    Voters,
    bytes_of,
    hash_of,
)

R = TypeVar("R", bound=Record)


def header_from(shown: Mapping[str, Any]) -> Header:
    """A header from its fields in JSON; what else stands there is passed over. Raises ResponseError."""
    return _record(Header, shown)


def proof_from(shown: Mapping[str, Any]) -> FinalityProof:
    """A proof of finality from JSON. Raises ResponseError."""
    try:
        candidate, certificate = shown["candidate"], shown["certificate"]
    except (KeyError, TypeError) as error:
        raise ResponseError("the node's proof lacks a part", value=error) from error
    return FinalityProof(_record(Candidate, candidate), _record(Certificate, certificate))


def table_from(shown: Voters) -> ValidatorTable:
    """The voters that a node names. It is to be trusted no further than the node, or compared with another's hash."""
    if not 0 <= shown.epoch <= U64_MAX:
        raise ResponseError("the node's voters are of an epoch that is none", value=shown.epoch)
    try:
        return ValidatorTable(Epoch(shown.epoch), _entries(shown.validators))
    except (ValueError, ProtocolError) as error:
        raise ResponseError("the node's voters can't be read", value=error) from error


def step_from(shown: StepInfo) -> Step:
    """A step from one epoch to the next, from JSON, with its bounds checked. Raises ResponseError."""
    try:
        voters = None if shown.voters is None else _entries(shown.voters)
    except (ValueError, ProtocolError) as error:
        raise ResponseError("the node's voters can't be read", value=error) from error
    return _checked(Step(header_from(shown.header), proof_from(shown.proof), voters))


def _entries(shown: Sequence[VoterInfo | TableEntry]) -> tuple[ValidatorEntry, ...]:
    """Raises ResponseError, ValueError or ProtocolError."""
    return tuple(
        [
            _checked(
                ValidatorEntry(
                    parse_address(each.address), BlsPublicKey(bytes.fromhex(each.consensus_key)), each.weight
                )
            )
            for each in shown
        ]
    )


def state_proof_from(shown: RowProof) -> StateProof:
    """A proof of a row from JSON, with its bounds checked. Raises ResponseError."""
    siblings = tuple([hash_of(sibling) for sibling in shown.siblings])
    return _checked(StateProof(bytes_of(shown.page), siblings))


def inclusion_from(shown: LeafProof) -> Inclusion:
    """A place in a Merkle tree from JSON. Raises ResponseError."""
    return _checked(Inclusion(shown.index, shown.size, tuple([hash_of(sibling) for sibling in shown.path])))


def _checked(record: R) -> R:
    """The record, decoded once more so that every bound is checked."""
    try:
        return decode(type(record), encode(record))
    except (OverflowError, ProtocolError) as error:
        raise ResponseError(f"the node's {type(record).__name__} can't be read", value=error) from error


def _record(kind: type[R], shown: Mapping[str, Any]) -> R:
    """A record from JSON, by the types of its fields, decoded once more so that every bound is checked."""
    try:
        return decode(kind, encode(_made(kind, shown)))
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, ProtocolError) as error:
        raise ResponseError(f"the node's {kind.__name__.lower()} can't be read", value=error) from error


def _made(kind: type[R], shown: Mapping[str, Any]) -> R:
    hints = get_type_hints(kind)
    return kind(*[_value(hints[name], shown[name]) for name in kind.__struct_fields__])


def _value(hint: Any, shown: Any) -> Any:
    if isinstance(hint, UnionType):  # a record, or none
        (only,) = [part for part in get_args(hint) if part is not NoneType]
        return None if shown is None else _made(only, shown)
    if hint is Address:
        return parse_address(shown)
    if hint is VoteKind:
        return VoteKind[shown.upper()]
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    return bytes.fromhex(shown) if hint is bytes else shown
