"""What a block's execution is given besides the state. Everything is data: no clock, no randomness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from omnitensor.protocol import bls, conviction, keys
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Address, Epoch, Hash, Height, PublicKey, TimeMs


class Scheme(conviction.Scheme, Protocol):
    """What execution needs of consensus signatures; a seam, so that a simulation can run on something cheaper than curves."""

    def verify(self, pk: bytes, message: bytes, signature: bytes) -> bool:
        """Whether the signature is that of the key `pk` over the message. False for anything malformed."""

    def pop_verify(self, pk: bytes, proof: bytes) -> bool:
        """Whether the proof shows that its maker has the secret of the key `pk`. False for anything malformed."""


NO_SIGNER: Final = PublicKey(bytes(32))

VerifyKey = Callable[[bytes, bytes, bytes], bool]
"""Whether an Ed25519 key signed a message: ``(key, message, signature)``, False for anything malformed."""


@dataclass(frozen=True, slots=True)
class BlockContext:
    """The block being executed. ``base_fee`` is nanoOMNIT a unit of weight; ``beacon`` is this block's own."""

    chain_id: str
    height: Height
    epoch: Epoch
    timestamp_ms: TimeMs
    proposer: Address
    beacon: Hash
    params: Params
    base_fee: int
    scheme: Scheme = bls.SCHEME
    verify_key: VerifyKey = keys.verify
    attended: tuple[int, ...] = ()
    """Whose votes for the block below this one names: indexes in the table of this epoch, ascending."""
    skipped: range = range(0)
    """Views of this epoch that were skipped between the block below and its own parent, as the same votes say."""
    signer: PublicKey = NO_SIGNER
    """While an order is carried out that holds a signature of its own: whose key signed the transaction; zeros else."""
