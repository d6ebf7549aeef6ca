"""Method account.multisig: members and sequence number of an account of several keys. Reads only."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from omnitensor.protocol.keys import address_of as address_of_key
from omnitensor.protocol.rows import multisig_key
from omnitensor.protocol.types import MULTISIG_VERSION
from rpc.fields import AddressText, Count, WithProof, address_of, shown
from rpc.jsonrpc import INVALID_PARAMS, standard_error
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params, Result
from state.schema import MULTISIGS


class MultisigParams(Params, frozen=True):
    address: AddressText
    proof: WithProof = False


class MultisigShown(Result, frozen=True):
    address: AddressText
    sequence: Annotated[Count, Meta(description="The number of its next order")]
    threshold: Annotated[Count | None, Meta(description="How many must sign; null before its first order")]
    members: Annotated[
        list[AddressText] | None,
        Meta(
            description="Addresses of the members' own keys; null before its first order, since an address hides them"
        ),
    ]
    proof: RowProof | UnsetType = UNSET


@TABLE.method("account.multisig")
def multisig(context: Context, params: MultisigParams) -> MultisigShown:
    """A multisignature account's next sequence number, and its members once it has ordered something."""
    address, reader = address_of(params.address), context.reader
    if address[0] != MULTISIG_VERSION:
        raise standard_error(
            INVALID_PARAMS,
            "address",
            "the address is of a single key",
            params.address,
            "ask account.get for its nonce",
        )
    row = reader.get(MULTISIGS, address)
    return MultisigShown(
        address=params.address,
        sequence=row.sequence if row else 0,
        threshold=row.policy.threshold if row else None,
        members=[shown(address_of_key(key)) for key in row.policy.members] if row else None,
        proof=row_proof(reader, multisig_key(address)) if params.proof else UNSET,
    )
