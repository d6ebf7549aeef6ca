"""Encrypted files and wrapped keys: what opens, and everything that must not."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from omnitensor.protocol import sealing
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.sealing import MAGIC, SEGMENT_BYTES, TAG_BYTES, ReadingKey, SealError, Segments
from omnitensor.protocol.types import Address, Hash

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ANN, BEN = Address(b"\0" + b"a" * 32), Address(b"\0" + b"b" * 32)
CONTEXT = sealing.content_context("chain-1", 7, ANN)
READER = ReadingKey(hashlib.sha256(b"reader").digest())
ROOT = content_id_of(b"bytes").chunk_root


def sealed(plain: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    segments = Segments(key, context)
    starts = range(0, len(plain), SEGMENT_BYTES)
    parts = [
        segments.seal(index, plain[start : start + SEGMENT_BYTES], last=index == len(starts) - 1)
        for index, start in enumerate(starts)
    ]
    return MAGIC + b"".join(parts)


def opened(data: bytes, key: bytes = KEY, context: bytes = CONTEXT) -> bytes:
    if data[: len(MAGIC)] != MAGIC:
        raise SealError("not an encrypted file")
    count, _ = sealing.segment_lengths(len(data))
    body, segments = data[len(MAGIC) :], Segments(key, context)
    step = SEGMENT_BYTES + TAG_BYTES
    return b"".join(
        segments.open(index, body[index * step : (index + 1) * step], last=index == count - 1)
        for index in range(count)
    )


@settings(max_examples=30, deadline=None)
@given(st.one_of(st.integers(1, 2_000), st.sampled_from([-1, 0, 1]).map(lambda by: 2 * SEGMENT_BYTES + by)))
def test_a_file_opens_as_it_was_and_has_the_size_that_is_told(size: int) -> None:
    plain = hashlib.shake_128(size.to_bytes(4, "big")).digest(size)
    data = sealed(plain)
    assert opened(data) == plain
    assert len(data) == sealing.sealed_size(size)
    assert sealing.plain_size(len(data)) == size


PLAIN = hashlib.shake_128(b"plain").digest(3 * SEGMENT_BYTES + 100)
DATA = sealed(PLAIN)
STEP = SEGMENT_BYTES + TAG_BYTES
PARTS = [DATA[len(MAGIC) :][start : start + STEP] for start in range(0, len(DATA) - len(MAGIC), STEP)]


@pytest.mark.parametrize(
    "forged",
    [
        MAGIC + b"".join(PARTS[:3]),
        MAGIC + b"".join(PARTS[:1]),
        DATA[:-1],
        DATA[:-50],
        DATA + b"\0",
        MAGIC + b"".join([PARTS[1], PARTS[0], *PARTS[2:]]),
        MAGIC + b"".join([*PARTS[:2], PARTS[1], PARTS[3]]),
        MAGIC + b"".join([PARTS[0], *PARTS]),
        MAGIC + b"".join([sealed(PLAIN, OTHER)[len(MAGIC) :][:STEP], *PARTS[1:]]),
        MAGIC,
        b"",
        b"omnitensor/priv2" + DATA[len(MAGIC) :],
    ],
    ids=[
        "cut at a segment",
        "one segment",
        "a byte cut",
        "a tail cut",
        "a byte more",
        "moved",
        "repeated",
        "one more",
        "of another file",
        "nothing",
        "empty",
        "another version",
    ],
)
def test_a_file_that_was_cut_moved_or_mixed_does_not_open(forged: bytes) -> None:
    with pytest.raises(SealError):
        opened(forged)


@pytest.mark.parametrize("place", [len(MAGIC), len(MAGIC) + STEP - 1, len(DATA) - 1])
def test_a_changed_byte_does_not_open(place: int) -> None:
    with pytest.raises(SealError):
        opened(DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :])


@pytest.mark.parametrize(
    ("key", "context"),
    [
        (OTHER, CONTEXT),
        (KEY, sealing.content_context("chain-2", 7, ANN)),
        (KEY, sealing.content_context("chain-1", 8, ANN)),
        (KEY, sealing.content_context("chain-1", 7, BEN)),
    ],
)
def test_a_file_of_another_key_chain_campaign_or_contributor_does_not_open(
    key: bytes, context: bytes
) -> None:
    with pytest.raises(SealError):
        opened(DATA, key, context)


# -- wraps

SEAT = sealing.seat_context("chain-1", 7, ROOT, ANN, 3, 11, BEN)
OTHERS = [
    sealing.seat_context("chain-2", 7, ROOT, ANN, 3, 11, BEN),
    sealing.seat_context("chain-1", 8, ROOT, ANN, 3, 11, BEN),
    sealing.seat_context("chain-1", 7, Hash(bytes(32)), ANN, 3, 11, BEN),
    sealing.seat_context("chain-1", 7, ROOT, BEN, 3, 11, BEN),
    sealing.seat_context("chain-1", 7, ROOT, ANN, 4, 11, BEN),
    sealing.seat_context("chain-1", 7, ROOT, ANN, 3, 12, BEN),
    sealing.seat_context("chain-1", 7, ROOT, ANN, 3, 11, ANN),
    sealing.sponsor_context("chain-1", 7, ROOT, ANN),
]


def test_a_wrap_opens_for_its_reader_and_is_made_alike_again() -> None:
    wrapped = sealing.wrap(KEY, READER.public, SEAT)
    assert len(wrapped) == 80
    assert wrapped == sealing.wrap(KEY, READER.public, SEAT)
    assert READER.unwrap(wrapped, SEAT) == KEY
    assert KEY not in wrapped


@pytest.mark.parametrize("place", range(len(OTHERS)))
def test_a_wrap_for_another_item_recipient_or_place_does_not_open(place: int) -> None:
    wrapped = sealing.wrap(KEY, READER.public, OTHERS[place])
    with pytest.raises(SealError):
        READER.unwrap(wrapped, SEAT)


def test_a_wrap_does_not_open_for_another_reader() -> None:
    stranger = ReadingKey(hashlib.sha256(b"stranger").digest())
    with pytest.raises(SealError):
        stranger.unwrap(sealing.wrap(KEY, READER.public, SEAT), SEAT)


def test_a_wrap_does_not_open_after_any_byte_was_changed() -> None:
    wrapped = sealing.wrap(KEY, READER.public, SEAT)
    for place in range(len(wrapped)):
        forged = wrapped[:place] + bytes([wrapped[place] ^ 0x80]) + wrapped[place + 1 :]
        with pytest.raises(SealError):
            READER.unwrap(forged, SEAT)
    for forged in (b"", wrapped[:-1], wrapped + b"\0"):
        with pytest.raises(SealError):
            READER.unwrap(forged, SEAT)


def test_a_wrap_that_another_way_would_make_is_refused() -> None:
    """It opens, and is not what its key gives: whoever checks the sponsor's wrap would find that it differs."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    chance = X25519PrivateKey.generate()
    head = chance.public_key().public_bytes_raw()
    shared = chance.exchange(X25519PublicKey.from_public_bytes(READER.public))
    body = AESGCM(sealing._wrap_key(shared, head, READER.public, SEAT)).encrypt(bytes(12), KEY, SEAT)
    with pytest.raises(SealError):
        READER.unwrap(head + body, SEAT)


def test_points_of_small_order_are_no_reading_keys() -> None:
    """From RFC 7748, section 6.1, each with and without the bit that is masked, and as numbers above the prime."""
    prime = 2**255 - 19
    small = [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        prime - 1,
        prime,
        prime + 1,
    ]
    for number in small:
        for top in (0, 2**255):
            key = (number + top).to_bytes(32, "little")
            assert not sealing.is_reading_key(key)
            with pytest.raises(SealError):
                sealing.wrap(KEY, key, SEAT)
    assert sealing.is_reading_key(READER.public)
    assert not sealing.is_reading_key(READER.public[:-1])


def test_a_commitment_binds_the_plain_bytes_and_hides_them() -> None:
    digest = hashlib.sha256(PLAIN).digest()
    made = sealing.plain_commitment(KEY, digest, len(PLAIN))
    assert made != sealing.plain_commitment(OTHER, digest, len(PLAIN)), "who guesses the file can't tell"
    assert made != sealing.plain_commitment(KEY, digest, len(PLAIN) + 1)
    assert made != sealing.plain_commitment(KEY, hashlib.sha256(b"").digest(), len(PLAIN))


def test_a_reading_key_shows_no_secret() -> None:
    assert hashlib.sha256(b"reader").hexdigest() not in repr(READER) + str(READER)


# -- the same by other means: HKDF from hashlib alone, libsodium's X25519, AES-GCM by its block cipher and counters


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869, one block."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def gcm(key: bytes, nonce: bytes, plain: bytes, along: bytes) -> bytes:
    """AES-256-GCM from SP 800-38D over single blocks of AES: no mode of the library's is used but the plain cipher."""
    cipher = Cipher(AES(key), ECB()).encryptor()  # a block at a time, as the standard writes it
    subkey, blocks = int.from_bytes(cipher.update(bytes(16)), "big"), -(-len(plain) // 16)
    stream = b"".join(cipher.update(nonce + (number + 2).to_bytes(4, "big")) for number in range(blocks))
    sealed = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    padded = [part + bytes(-len(part) % 16) for part in (along, sealed)]
    lengths = (8 * len(along)).to_bytes(8, "big") + (8 * len(sealed)).to_bytes(8, "big")
    hashed, data = 0, padded[0] + padded[1] + lengths
    for start in range(0, len(data), 16):
        hashed = times(hashed ^ int.from_bytes(data[start : start + 16], "big"), subkey)
    mask = int.from_bytes(cipher.update(nonce + (1).to_bytes(4, "big")), "big")
    return sealed + (hashed ^ mask).to_bytes(16, "big")


def times(x: int, y: int) -> int:
    """The product in GF(2**128), bits in GCM's order."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(1, 300))
def test_wraps_and_segments_are_what_the_page_says(key: bytes, secret: bytes, size: int) -> None:
    reader = crypto_scalarmult_base(secret)
    once = hkdf(key, reader, b"omnitensor/wrap-secret/v1" + SEAT)
    head = crypto_scalarmult_base(once)
    wrapping = hkdf(crypto_scalarmult(once, reader), head + reader, b"omnitensor/wrap-key/v1" + SEAT)
    expected = head + gcm(wrapping, bytes(12), key, SEAT)
    assert sealing.wrap(key, reader, SEAT) == expected
    assert ReadingKey(secret).unwrap(expected, SEAT) == key
    plain = hashlib.shake_128(key).digest(size)
    content = hkdf(key, b"omnitensor/priv1", b"omnitensor/private-content/v1")
    place = bytes(8) + b"\1" + bytes(3)
    expected = b"omnitensor/priv1" + gcm(content, place, plain, b"omnitensor/priv1" + CONTEXT + place)
    assert sealed(plain, key) == expected
    tag = hashlib.sha256(b"omnitensor/plain/1").digest() * 2
    parts = (
        hkdf(key, b"", b"omnitensor/plain-salt/v1"),
        hashlib.sha256(plain).digest(),
        size.to_bytes(8, "big"),
    )
    text = tag + b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    assert sealing.plain_commitment(key, parts[1], size) == hashlib.sha256(text).digest()
