"""A transaction with its canonical bytes, id and weight, each computed once from the bytes. Knows no state."""

import msgspec

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.limits import transaction_bytes_max
from omnitensor.protocol.transactions import Transaction, transaction_id, weight_of
from omnitensor.protocol.types import Hash, Weight


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """What the ledger executes. ``id`` is also the message that was signed."""

    transaction: Transaction
    encoded: bytes
    id: Hash
    weight: Weight


def prepare(transaction: Transaction, encoded: bytes | None = None) -> Prepared:
    """Prepares a transaction; ``encoded`` must be its canonical bytes where given."""
    data = encode(transaction) if encoded is None else encoded
    return Prepared(transaction, data, transaction_id(data), weight_of(transaction, len(data)))


def prepare_encoded(encoded: bytes) -> Prepared:
    """Prepares a transaction from bytes of a stranger. Raises CodecError or LimitError."""
    return prepare(decode(Transaction, encoded, transaction_bytes_max), encoded)
