"""What a square product is worth: its columns folded, a keyed prefilter, a keyed hash, and the credit of those that win.

Every square product of a unit has one chance. A value below the target, ``bits`` zero bits in front counted over prefilter and
hash together, is a ticket; a receipt names the best few. Knows no programs and no noise.
"""

from hashlib import blake2b, shake_128
from typing import Final

import numpy as np
import numpy.typing as npt

from consensus.work.exact import Floats
from omnitensor.protocol import hashing
from omnitensor.protocol.limits import receipt_tickets_max
from omnitensor.protocol.types import Hash
from omnitensor.protocol.work import Ticket

Words = npt.NDArray[np.uint32]

PREFILTER_BITS_MAX: Final = 6
VALUE_BITS: Final = 256
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


def prefilter_bits(bits: int) -> int:
    """Of a difficulty, how much the cheap prefilter decides; the hash decides the rest."""
    return min(bits, PREFILTER_BITS_MAX)


def ticket_key(seed: Hash) -> bytes:
    """Keys prefilter and hash of one unit's layer."""
    return hashing.WORK_TICKET(seed)


def fold(product: Floats) -> Words:
    """Columns of an exact square product folded to one word each, by XOR of the entries' float32 bit patterns."""
    folded: Words = np.bitwise_xor.reduce(product.view(np.uint32), axis=0)
    return folded


def prefilter(words: Words, key: bytes, bits: int) -> npt.NDArray[np.bool_]:
    """Which squares pass: ``words`` is (..., tile), the answer (...). A share of 2**-bits does."""
    if not bits:
        return np.ones(words.shape[:-1], np.bool_)
    count = words.shape[-1]
    factors = np.frombuffer(shake_128(key).digest(8 * count), "<u8") | np.uint64(1)
    with np.errstate(over="ignore"):  # modulo 2**64, as meant; numpy warns of it for single numbers
        mixed = (words * factors).sum(axis=-1, dtype=np.uint64)
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
    passed: npt.NDArray[np.bool_] = mixed >> np.uint64(64 - bits) == 0
    return passed


def value_of(words: Words, key: bytes, ticket: Ticket) -> int:
    """The keyed hash of a folded square and its place, as a number below 2**256."""
    place = b"".join(
        part.to_bytes(4, "big") for part in (ticket.layer, ticket.row, ticket.column, ticket.piece)
    )
    return int.from_bytes(
        blake2b(place + words.astype("<u4").tobytes(), digest_size=32, key=key).digest(), "big"
    )


def wins(value: int, bits: int) -> bool:
    """Whether what passed the prefilter is below the target."""
    return value >> (VALUE_BITS - (bits - prefilter_bits(bits))) == 0


def credit_of(values: tuple[int, ...], bits: int, square_macs: int) -> int:
    """How much work a receipt's tickets stand for, as an unbiased estimate; ``values`` in order, a square being ``square_macs``.

    Fewer than the most that a receipt can name are all there were: each stands for ``2**bits`` squares. Else there may have been
    more, and the greatest of them takes the place of the target: the others stand for its inverse each (as in bottom-k
    sketches, whose estimates are unbiased for any number of squares).
    """
    if len(values) < receipt_tickets_max:
        return len(values) * square_macs << bits
    return ((len(values) - 1) * square_macs << (VALUE_BITS + prefilter_bits(bits))) // (values[-1] + 1)
