"""Private items: how a file is encrypted, and how its key is wrapped to whoever may read it. Knows bytes; no files and no node.

A file is cut into segments, each under AES-256-GCM with a nonce of its place and of whether it is the last, and bound to chain,
campaign and contributor: segments that are cut off, moved or taken from another file do not open. The file's key is wrapped to
a reader's X25519 key. A wrap is a function of the item's key, the reader and what it is for, so that whoever holds the item's
key can check that another reader was given it, too.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from omnitensor.protocol import hashing
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import KIB
from omnitensor.protocol.types import Address, Hash

MAGIC: Final = b"omnitensor/priv1"
"""Sixteen bytes that head an encrypted file."""
SEGMENT_BYTES: Final = 64 * KIB
"""Bytes of the plain file in each segment but the last."""
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
READING_KEY_BYTES: Final = 32
WRAP_BYTES: Final = 80
"""An item's key for one reader: 32 bytes of a public key, 32 of the key, 16 of a tag."""
OWN_SEAL_BYTES: Final = 60
"""The same for the contributor itself: 12 bytes of a nonce instead of a public key."""
CONTENT_INFO: Final = b"omnitensor/private-content/v1"
SALT_INFO: Final = b"omnitensor/plain-salt/v1"
WRAP_SECRET_INFO: Final = b"omnitensor/wrap-secret/v1"
WRAP_KEY_INFO: Final = b"omnitensor/wrap-key/v1"
_SEALED: Final = SEGMENT_BYTES + TAG_BYTES
_WRAP_NONCE: Final = bytes(12)
"""A wrap's key is used once."""
_P: Final = 2**255 - 19
_SMALL_ORDER: Final = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
    }
)
"""Points with which every exchange gives the same secret (RFC 7748, section 6.1), as numbers below the prime."""


class SealError(ProtocolError):
    """Bytes that are no encrypted file or wrapped key, or not of this key, reader or place."""

    code = "sealed"


def is_reading_key(public: bytes) -> bool:
    """Whether bytes are an X25519 public key that can keep a secret: 32 bytes, of no small order."""
    if len(public) != READING_KEY_BYTES:
        return False
    return (int.from_bytes(public, "little") & (2**255 - 1)) % _P not in _SMALL_ORDER


class ReadingKey:
    """An account's X25519 key, to which item keys are wrapped. Holds the secret, and shows the public half alone."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: bytes) -> None:
        """From 32 secret bytes."""
        assert len(secret) == KEY_BYTES, f"a reading key has {KEY_BYTES} bytes"
        self._secret = X25519PrivateKey.from_private_bytes(secret)
        self.public: Final = _raw(self._secret.public_key())

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The item key in a wrap to this key. Raises SealError for another's, for another purpose's, or for a false one."""
        if len(wrapped) != WRAP_BYTES:
            raise SealError("not a wrapped key", value=f"{len(wrapped)} bytes")
        head, body = wrapped[:KEY_BYTES], wrapped[KEY_BYTES:]
        try:
            shared = self._secret.exchange(X25519PublicKey.from_public_bytes(head))
            key = AESGCM(_wrap_key(shared, head, self.public, context)).decrypt(_WRAP_NONCE, body, context)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "the item's key was not wrapped to this reading key, for this item",
                value=self.public.hex(),
                remedy="read with the key that was registered when the seat was drawn",
            ) from error
        if len(key) != KEY_BYTES or wrap(key, self.public, context) != wrapped:
            raise SealError("the wrap is not the one that its item's key gives", value=self.public.hex())
        return key

    def __repr__(self) -> str:
        return f"ReadingKey({self.public.hex()})"


def wrap(key: bytes, reader: bytes, context: bytes) -> bytes:
    """An item's key for one reader: 32 bytes of a public key made from all three, then AES-256-GCM of the key; 80 bytes.

    The same three always give the same bytes. Raises SealError where ``reader`` is no reading key.
    """
    if not is_reading_key(reader):
        raise SealError("not a reading key", value=reader, remedy="32 bytes of an X25519 public key")
    once = X25519PrivateKey.from_private_bytes(_derived(key, reader, WRAP_SECRET_INFO + context))
    head = _raw(once.public_key())
    shared = once.exchange(X25519PublicKey.from_public_bytes(reader))
    return head + AESGCM(_wrap_key(shared, head, reader, context)).encrypt(_WRAP_NONCE, key, context)


def sponsor_context(chain_id: str, campaign: int, chunk_root: Hash, contributor: Address) -> bytes:
    """What binds the sponsor's wrap: chain, campaign, the encrypted content, and whose item it is."""
    return encode(("sponsor", chain_id, int(campaign), bytes(chunk_root), bytes(contributor)))


def seat_context(
    chain_id: str,
    campaign: int,
    chunk_root: Hash,
    contributor: Address,
    batch: int,
    item: int,
    validator: Address,
) -> bytes:
    """What binds a seat's wrap: the same, and the batch, the item's number, and the validator that was drawn."""
    return encode(
        (
            "seat",
            chain_id,
            int(campaign),
            bytes(chunk_root),
            bytes(contributor),
            int(batch),
            int(item),
            bytes(validator),
        )
    )


def plain_commitment(key: bytes, digest: bytes, size: int) -> Hash:
    """What an item says of its plain bytes: their SHA-256 and size, hidden from whoever does not hold the item's key."""
    return salted_commitment(plain_salt(key), digest, size)


def salted_commitment(salt: bytes, digest: bytes, size: int) -> Hash:
    """The same from the salt that the key gives, which is what its opening shows."""
    return hashing.PLAIN(salt, digest, size.to_bytes(8, "big"))


def plain_salt(key: bytes) -> bytes:
    """The salt of an item's plain commitment: shown, it opens the commitment and tells nothing of the key."""
    return _derived(key, b"", SALT_INFO)


def content_context(chain_id: str, campaign: int, contributor: Address) -> bytes:
    """What every segment of a file is bound to besides its place."""
    return encode((chain_id, int(campaign), bytes(contributor)))


def sealed_size(size: int) -> int:
    """Bytes of an encrypted file whose plain one has ``size`` bytes, one at least."""
    assert size > 0, "an empty file is nothing to encrypt"
    return len(MAGIC) + size + TAG_BYTES * -(-size // SEGMENT_BYTES)


def plain_size(size: int) -> int:
    """Bytes of the plain file in an encrypted one of ``size`` bytes. Raises SealError where none has that size."""
    body = size - len(MAGIC)
    segments = -(-body // _SEALED)
    plain = body - TAG_BYTES * segments
    if plain <= 0 or sealed_size(plain) != size:
        raise SealError("no encrypted file has this size", value=f"{size} bytes")
    return plain


class Segments:
    """Encrypts and decrypts the segments of one file: ``context`` is ``content_context``'s."""

    __slots__ = ("_aead", "_bound")

    def __init__(self, key: bytes, context: bytes) -> None:
        self._aead = AESGCM(_derived(key, MAGIC, CONTENT_INFO))
        self._bound = MAGIC + context

    def seal(self, index: int, plain: bytes, *, last: bool) -> bytes:
        """The segment in a place, encrypted."""
        assert 0 < len(plain) <= SEGMENT_BYTES and (last or len(plain) == SEGMENT_BYTES)
        place = _place(index, last)
        return self._aead.encrypt(place, plain, self._bound + place)

    def open(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        """The plain bytes of the segment in a place. Raises SealError for any other key, file, place or end."""
        place = _place(index, last)
        try:
            return self._aead.decrypt(place, sealed, self._bound + place)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "a segment of the encrypted file does not open: another key, or changed bytes", value=index
            ) from error


def segment_lengths(size: int) -> tuple[int, int]:
    """Segments of an encrypted file of ``size`` bytes, and the encrypted bytes of the last. Raises SealError."""
    plain_size(size)
    body = size - len(MAGIC)
    segments = -(-body // _SEALED)
    return segments, body - (segments - 1) * _SEALED


def _place(index: int, last: bool) -> bytes:
    """Twelve bytes: the number of a segment, and whether it is the last."""
    return index.to_bytes(8, "big") + bytes([last, 0, 0, 0])


def _wrap_key(shared: bytes, head: bytes, reader: bytes, context: bytes) -> bytes:
    return _derived(shared, head + reader, WRAP_KEY_INFO + context)


def _derived(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


def _raw(public: X25519PublicKey) -> bytes:
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)
