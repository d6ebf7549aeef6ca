"""Transactions: the signed envelope and its weight. Bodies are in ``bodies``; what they do is in ``state/ledger``."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from omnitensor.protocol import hashing
from omnitensor.protocol.bodies import Body
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.limits import chain_id_chars_max
from omnitensor.protocol.types import (
    U16,
    U64,
    Address,
    AddressF,
    Amount,
    AmountF,
    Hash,
    Height,
    HeightF,
    PublicKey,
    PublicKeyF,
    Signature,
    SignatureF,
    Weight,
)

TRANSACTION_VERSION: Final = 1
SIGNATURE_WIRE_BYTES: Final = 66
"""The signature is the last field: two bytes of msgpack head and 64 of signature."""


class Transaction(Record, frozen=True):
    """A signed order of one account. The id and the signature cover the canonical bytes up to the signature.

    ``signer`` is the account's own key or a session key of it that holds the body's scope. The sender pays ``weight * base_fee``
    (at most ``max_fee``, burned) and ``tip`` (to the leader). It can be included up to height ``valid_until``.
    """

    version: U16
    chain_id: Annotated[str, Meta(min_length=1, max_length=chain_id_chars_max)]
    sender: AddressF
    nonce: U64
    valid_until: HeightF
    max_fee: AmountF
    tip: AmountF
    body: Body
    signer: PublicKeyF
    signature: SignatureF

    @property
    def id(self) -> Hash:
        return transaction_id(encode(self))


def transaction_id(encoded: bytes) -> Hash:
    """Id of a transaction from its canonical bytes: tagged hash of all before the signature. It is also the message signed."""
    return hashing.TRANSACTION(encoded[:-SIGNATURE_WIRE_BYTES])


def unsigned(
    *,
    chain_id: str,
    sender: Address,
    nonce: int,
    valid_until: Height,
    max_fee: Amount,
    tip: Amount,
    body: Body,
    signer: PublicKey,
) -> Transaction:
    """A transaction with a signature of zeros: sign its ``id`` and put the signature in with ``signed``."""
    return Transaction(
        TRANSACTION_VERSION,
        chain_id,
        sender,
        nonce,
        valid_until,
        max_fee,
        tip,
        body,
        signer,
        Signature(bytes(64)),
    )


def signed(transaction: Transaction, signature: Signature) -> Transaction:
    return msgspec.structs.replace(transaction, signature=signature)


WEIGHT_BASE: Final = 300
"""Every transaction: a signature to verify, a nonce and a receipt to write."""
WEIGHT_PER_BYTE: Final = 1


def weight_of(transaction: Transaction, encoded_bytes: int) -> Weight:
    """Weight of a transaction whose canonical bytes number ``encoded_bytes``: base, bytes, and the body's own."""
    return Weight(WEIGHT_BASE + WEIGHT_PER_BYTE * encoded_bytes + transaction.body.weight())
