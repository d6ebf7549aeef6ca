"""Reads that believe no node: what is answered is checked under a header that a quorum of the chain's validators made final.

The voters come from the caller, or from genesis: a client that was told its chain by the hash of the genesis block needs no more.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from omnitensor.light import ProofError, check_ancestor, check_receipt, check_row
from omnitensor.protocol.blocks import Header, Receipt
from omnitensor.protocol.codec import Record, decode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.rows import Account, Campaign, Item, account_key, campaign_key, item_key
from omnitensor.protocol.types import Address, Amount, CampaignId, ItemId
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.sdk import results
from omnitensor.sdk.errors import InputError, NotFoundError
from omnitensor.sdk.proofs import header_from, inclusion_from, state_proof_from
from omnitensor.sdk.reads import Reads, campaign_number
from omnitensor.sdk.results import bytes_of, hash_given, hash_of

V = TypeVar("V")
R = TypeVar("R", bound=Record)


@dataclasses.dataclass(frozen=True, slots=True)
class Proven(Generic[V]):
    """A value, and the final header that binds it."""

    value: V
    header: Header

    @property
    def height(self) -> int:
        """The value is as it was after this block."""
        return self.header.height


class ProvenReads(Reads):
    """The reads of a client that can be checked. All raise ProofError where a node shows something that is not so.

    ``table``: the voters of the header's epoch. Without it they are genesis', whose hash must be in the client's ``chain``.
    """

    async def proven_account(
        self, address: Address | str, table: ValidatorTable | None = None
    ) -> Proven[Account]:
        """An account's balance and nonce; one that is proven absent has neither."""
        found = parse_address(address) if isinstance(address, str) else address
        row = await self.proven_row(account_key(found), table)
        if row.value is None:
            return Proven(Account(Amount(0), 0), row.header)
        return Proven(_decoded(Account, row.value), row.header)

    async def proven_campaign(
        self, campaign: int | str, table: ValidatorTable | None = None
    ) -> Proven[Campaign]:
        """A campaign as the ledger holds it. Raises NotFoundError where its absence is proven."""
        number = int(campaign_number(campaign))
        row = await self.proven_row(campaign_key(CampaignId(number)), table)
        if row.value is None:
            raise NotFoundError(f"the chain has no such campaign at height {row.height}", value=number)
        return Proven(_decoded(Campaign, row.value), row.header)

    async def proven_item(self, item: int, table: ValidatorTable | None = None) -> Proven[Item]:
        """An item as the ledger holds it. Raises NotFoundError where its absence is proven."""
        row = await self.proven_row(item_key(ItemId(item)), table)
        if row.value is None:
            raise NotFoundError(f"the chain has no such item at height {row.height}", value=item)
        return Proven(_decoded(Item, row.value), row.header)

    async def proven_row(self, key: bytes, table: ValidatorTable | None = None) -> Proven[bytes | None]:
        """The canonical bytes of any row of the state, or None where its absence is proven."""
        table = table or await self.genesis_table()
        shown = await self._ask(results.RowProof, "state.row", key=key.hex())
        header = await self._final_header(shown.height, table)
        value = None if shown.value is None else bytes_of(shown.value)
        check_row(header, key, value, state_proof_from(shown))
        return Proven(value, header)

    async def proven_receipt(self, tx_id: str, table: ValidatorTable | None = None) -> Proven[Receipt]:
        """What became of a final transaction. Raises NotFoundError where the node has no receipt of it: that can't be proven."""
        table, wanted = table or await self.genesis_table(), hash_given(tx_id)
        answer = await self._ask(results.ProvenTransaction, "tx.get", id=wanted, proof=True)
        if answer.proof is None:
            raise NotFoundError("the node knows no such final transaction", value=wanted)
        header = await self._final_header(answer.proof.height, table)
        receipt = _decoded(Receipt, bytes_of(answer.proof.leaf))
        if check_receipt(header, receipt, inclusion_from(answer.proof)) != hash_of(wanted):
            raise ProofError("the node sent another transaction's receipt", value=receipt.transaction_id)
        return Proven(receipt, header)

    async def proven_header(self, height: int, table: ValidatorTable | None = None) -> Header:
        """The header of any final block: the last one is checked, and that it stands on this one."""
        table = table or await self.genesis_table()
        shown = await self._ask(results.BlockInfo, "chain.block", height=height, history=True)
        if shown.history is None:
            return await self._final_header(height, table)
        header = header_from(shown.header)
        last = await self._final_header(shown.history.height, table)
        check_ancestor(last, height, header.hash, inclusion_from(shown.history))
        if header.height != height:
            raise ProofError("the node sent a block of another height", value=header.height)
        return header

    async def genesis_table(self) -> ValidatorTable:
        """The voters of the first epoch, under the hash of genesis that the client was told. Raises InputError, ProofError."""
        if self._genesis_table is None:
            header, table = await self._genesis_header(), await self.validator_table()
            if table.hash != header.validators_hash:
                raise ProofError("the node's voters are not those of genesis", value=table.hash)
            self._genesis_table = table
        return self._genesis_table

    async def _genesis_header(self) -> Header:
        if self.expected is None:
            raise InputError(
                "the client was not told which chain it is on, so nothing can be checked",
                remedy="give chain=ChainIdentity(chain id, genesis hash), or a table of validators",
            )
        header = header_from((await self.block(height=0)).header)
        if header.hash != hash_of(self.expected.genesis_hash):
            raise ProofError("the node's block 0 is not the genesis block of this chain", value=header.hash)
        return header

    async def _final_header(self, height: int, table: ValidatorTable) -> Header:
        """A header that voters made final; genesis' is final by itself."""
        if height == 0 and self.expected is not None:
            return await self._genesis_header()
        return await self.verified_header(height, table)


def _decoded(kind: type[R], data: bytes) -> R:
    """A record from bytes that a proof showed. Raises ProofError: the chain's version is another than this SDK's."""
    try:
        return decode(kind, data)
    except CodecError as error:
        raise ProofError(
            f"what was proven is no {kind.__name__.lower()} of this version", value=data[:32]
        ) from error
