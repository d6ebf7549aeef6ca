"""Methods vault.*: locked money, its schedule and what can be taken out now. Reads only."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from omnitensor.protocol.rows import vault_key, vested
from omnitensor.protocol.types import ADDRESS_BYTES, Address
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
from state.ledger.vaults import withdrawable
from state.reader import Reader
from state.records import Vault
from state.schema import VAULTS, VAULTS_BY_HOLDER


class VaultShown(Result, frozen=True):
    vault: AddressText
    holder: AddressText
    granter: Annotated[
        AddressText | None, Meta(description="Whose money it was; null where it is from genesis")
    ]
    total: Annotated[AmountText, Meta(description="What was locked at first")]
    start_ms: Count
    cliff_ms: Annotated[Count, Meta(description="Nothing vests before it")]
    end_ms: Annotated[Count, Meta(description="Everything has vested then")]
    vested: Annotated[AmountText, Meta(description="What of the total has vested by now")]
    withdrawn: Annotated[AmountText, Meta(description="What its holder took so far")]
    balance: Annotated[AmountText, Meta(description="What is in it, without what it has at stake")]
    withdrawable: Annotated[AmountText, Meta(description="What its holder can take out now")]
    now_ms: Annotated[Count, Meta(description="The time of the last block, which decides")]
    proof: RowProof | UnsetType = UNSET


def _vault(reader: Reader, address: Address, row: Vault) -> VaultShown:
    now = reader.head.header.timestamp_ms
    return VaultShown(
        vault=shown(address),
        holder=shown(row.holder),
        granter=shown(row.granter) if any(row.granter) else None,
        total=str(row.total),
        start_ms=row.start_ms,
        cliff_ms=row.cliff_ms,
        end_ms=row.end_ms,
        vested=str(vested(row, now)),
        withdrawn=str(row.withdrawn),
        balance=str(reader.account(address).balance),
        withdrawable=str(withdrawable(reader, address, row, now)),
        now_ms=now,
    )


class VaultParams(Params, frozen=True):
    vault: AddressText
    proof: WithProof = False


@TABLE.method("vault.get")
def vault(context: Context, params: VaultParams) -> VaultShown:
    """Locked money: whose it is, by what schedule it opens, and what can be taken out now."""
    address, reader = address_of(params.vault), context.reader
    row = reader.get(VAULTS, address)
    if row is None:
        raise not_found("vault", params.vault, "list those of a holder with: otensor-cli vault list")
    found = _vault(reader, address, row)
    return replace(found, proof=row_proof(reader, vault_key(address))) if params.proof else found


class VaultsParams(Params, frozen=True):
    holder: AddressText
    cursor: Cursor | None = None
    limit: Limit = LIMIT_DEFAULT


class VaultsPage(Result, frozen=True):
    vaults: list[VaultShown]
    next: Cursor | None


@TABLE.method("vault.list")
def vaults(context: Context, params: VaultsParams) -> VaultsPage:
    """A holder's vaults, by address."""
    reader, found = context.reader, list[VaultShown]()
    start = b"" if params.cursor is None else address_of(params.cursor)
    for key, _ in reader.scan(VAULTS_BY_HOLDER, address_of(params.holder), start=start):
        assert len(key) == ADDRESS_BYTES, "the rest of the key is the vault"
        if len(found) == params.limit:
            return VaultsPage(vaults=found, next=shown(Address(key)))
        row = reader.get(VAULTS, key)
        assert row is not None, "an index names what is there"
        found.append(_vault(reader, Address(key), row))
    return VaultsPage(vaults=found, next=None)
