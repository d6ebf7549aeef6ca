"""Reads that believe no node: what is answered is checked under a header that a quorum of the chain's validators made final.

Which validators, ``epochs`` knows: from the hash of the genesis block, or from a checkpoint.
"""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

from omnitensor.light import ProofError, check_events, check_receipt, check_row, check_transaction
from omnitensor.protocol.blocks import Event, Header, Receipt
from omnitensor.protocol.codec import Record, decode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.rows import (
    Account,
    Campaign,
    Delegation,
    Item,
    account_key,
    campaign_key,
    delegation_key,
    item_key,
)
from omnitensor.protocol.transactions import Transaction
from omnitensor.protocol.types import Address, Amount, CampaignId, ItemId
from omnitensor.sdk import results
from omnitensor.sdk.epochs import EpochReads
from omnitensor.sdk.errors import NotFoundError
from omnitensor.sdk.proofs import inclusion_from, state_proof_from
from omnitensor.sdk.reads import campaign_number
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


class ProvenReads(EpochReads):
    """The reads of a client that can be checked. All raise ProofError where a node shows something that is not so."""

    async def proven_account(self, address: Address | str) -> Proven[Account]:
        """An account's balance and nonce; one that is proven absent has neither."""
        found = parse_address(address) if isinstance(address, str) else address
        row = await self.proven_row(account_key(found))
        if row.value is None:
            return Proven(Account(Amount(0), 0), row.header)
        return Proven(_decoded(Account, row.value), row.header)

    async def proven_campaign(self, campaign: int | str) -> Proven[Campaign]:
        """A campaign as the ledger holds it. Raises NotFoundError where its absence is proven."""
        number = int(campaign_number(campaign))
        row = await self.proven_row(campaign_key(CampaignId(number)))
        if row.value is None:
            raise NotFoundError(f"the chain has no such campaign at height {row.height}", value=number)
        return Proven(_decoded(Campaign, row.value), row.header)

    async def proven_item(self, item: int) -> Proven[Item]:
        """An item as the ledger holds it. Raises NotFoundError where its absence is proven."""
        row = await self.proven_row(item_key(ItemId(item)))
        if row.value is None:
            raise NotFoundError(f"the chain has no such item at height {row.height}", value=item)
        return Proven(_decoded(Item, row.value), row.header)

    async def proven_delegation(
        self, account: Address | str, validator: Address | str
    ) -> Proven[Delegation | None]:
        """An account's shares in what is delegated to a validator; None where their absence is proven."""
        first = parse_address(account) if isinstance(account, str) else account
        second = parse_address(validator) if isinstance(validator, str) else validator
        row = await self.proven_row(delegation_key(first, second))
        value = None if row.value is None else _decoded(Delegation, row.value)
        return Proven(value, row.header)

    async def proven_row(self, key: bytes) -> Proven[bytes | None]:
        """The canonical bytes of any row of the state, or None where its absence is proven."""
        shown = await self.state_row(key)
        header = await self.proven_header(shown.height)
        value = None if shown.value is None else bytes_of(shown.value)
        check_row(header, key, value, state_proof_from(shown))
        return Proven(value, header)

    async def proven_receipt(self, tx_id: str) -> Proven[Receipt]:
        """What became of a final transaction. Raises NotFoundError where the node has no receipt of it: that can't be proven."""
        wanted = hash_given(tx_id)
        answer = await self._ask(results.ProvenTransaction, "tx.get", id=wanted, proof=True)
        if answer.proof is None:
            raise NotFoundError("the node knows no such final transaction", value=wanted)
        header = await self.proven_header(answer.proof.height)
        receipt = _decoded(Receipt, bytes_of(answer.proof.leaf))
        if check_receipt(header, receipt, inclusion_from(answer.proof)) != hash_of(wanted):
            raise ProofError("the node sent another transaction's receipt", value=receipt.transaction_id)
        return Proven(receipt, header)

    async def proven_transaction(self, tx_id: str) -> Proven[Transaction]:
        """A final transaction as it was signed. Raises NotFoundError where the node has none: that can't be proven."""
        wanted = hash_given(tx_id)
        answer = await self._ask(results.ProvenTransaction, "tx.get", id=wanted, proof=True)
        shown = answer.transaction_proof
        if shown is None:
            raise NotFoundError("the node knows no such final transaction", value=wanted)
        header = await self.proven_header(shown.height)
        encoded = bytes_of(shown.leaf)
        if check_transaction(header, encoded, inclusion_from(shown)) != hash_of(wanted):
            raise ProofError("the node sent another transaction", value=shown.leaf[:64])
        return Proven(_decoded(Transaction, encoded), header)

    async def proven_events(self, height: int) -> Proven[tuple[Event, ...]]:
        """A block's own events (draws, verdicts, pay), all of them. Those of a transaction are in its receipt."""
        answer = await self._ask(results.ProvenEvents, "chain.events", height=height, proof=True)
        header = await self.proven_header(height)
        events = _events(bytes_of(answer.proof.leaf))
        check_events(header, events, inclusion_from(answer.proof))
        return Proven(events, header)


def _events(data: bytes) -> tuple[Event, ...]:
    """Events from bytes that a node sent. Raises ProofError."""
    try:
        return decode(tuple[Event, ...], data)
    except CodecError as error:
        raise ProofError("what the node sent are no events", value=data[:32]) from error


def _decoded(kind: type[R], data: bytes) -> R:
    """A record from bytes that a proof showed. Raises ProofError: the chain's version is another than this SDK's."""
    try:
        return decode(kind, data)
    except CodecError as error:
        raise ProofError(
            f"what was proven is no {kind.__name__.lower()} of this version", value=data[:32]
        ) from error
