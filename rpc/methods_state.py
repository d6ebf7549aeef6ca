"""Methods state.*: any row of the state as bytes with its proof, for those who trust no node. Reads only."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from rpc.jsonrpc import INVALID_PARAMS, standard_error
from rpc.proofs import RowProof, row_proof
from rpc.table import TABLE, Context, Params
from state.schema import TABLES, Kind

KEY_BYTES_MAX: Final = 256


class RowParams(Params, frozen=True):
    key: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{2})+$",
            max_length=2 * KEY_BYTES_MAX,
            description="The row's key as hexadecimal: its table's prefix byte, then the key's parts",
        ),
    ]


@TABLE.method("state.row")
def row(context: Context, params: RowParams) -> RowProof:
    """Any row of the state with its proof under the last block's `state_root`, or the proof that there is none."""
    key = bytes.fromhex(params.key)
    table = TABLES.get(key[0])
    if table is None or table.kind is not Kind.STATE:
        raise standard_error(
            INVALID_PARAMS,
            "key",
            "no table of the state has this prefix byte",
            f"{key[0]:02x}",
            "docs/specification/ledger.md lists the tables",
        )
    return row_proof(context.reader, key)
