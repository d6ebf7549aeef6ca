"""BLS signatures over BLS12-381: Ethereum's ciphersuite, minimal public keys, proof of possession.

The scheme (draft-irtf-cfrg-bls-signature-05, `BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_`) is written once,
in `Scheme`; a curve library gives it points and pairings. Two curves fit: `bls_arkworks` (fast) and
`bls_reference` (py_ecc). Everything that libraries are known to differ on is decided here, before or after
the curve: lengths, the one encoding of a point, the point at infinity, empty lists. So both give the same
verdict on every input.

Verifiers answer False for anything malformed and never raise. Knows no votes, no weights and no randomness:
the coefficients of a batch arrive as data. The module's own functions use the fast curve where installed.

A sum of public keys proves nothing unless possession of each key was proved: whoever admits a key calls
`pop_verify`.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Protocol

from omnitensor.protocol import limits
from omnitensor.protocol.errors import KeyFormatError, SignatureError
from omnitensor.protocol.types import BlsPublicKey, BlsSignature

SECRET_KEY_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 48
SIGNATURE_BYTES: Final = 96
KEY_MATERIAL_BYTES_MIN: Final = 32

SIGNATURE_TAG: Final = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
POSSESSION_TAG: Final = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"

FIELD_MODULUS: Final = int(
    "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab",
    16,
)
GROUP_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001

COEFFICIENT_BYTES: Final = 16
COEFFICIENT_MAX: Final = 2 ** (8 * COEFFICIENT_BYTES) - 1

Item = tuple[bytes, bytes, bytes]
"""Public key (48 bytes), message, signature (96 bytes), each as a stranger sent it."""


class Curve(Protocol):
    """What a curve library gives. Points are opaque; bytes that come in are compressed and canonical."""

    @property
    def name(self) -> str: ...

    def g1_point(self, data: bytes) -> Any | None:
        """The point of G1's prime-order subgroup that 48 bytes encode, or None."""

    def g2_point(self, data: bytes) -> Any | None:
        """The point of G2's prime-order subgroup that 96 bytes encode, or None."""

    def g1_bytes(self, point: Any) -> bytes: ...

    def g2_bytes(self, point: Any) -> bytes: ...

    def is_infinity(self, point: Any) -> bool: ...

    def hash_to_g2(self, message: bytes, tag: bytes) -> Any: ...

    def g1_generator_times(self, scalar: int) -> Any: ...

    def g2_times(self, point: Any, scalar: int) -> Any: ...

    def g1_sum(self, points: Sequence[Any], scalars: Sequence[int] | None = None) -> Any:
        """The sum of the points, each times its scalar where scalars are given."""

    def g2_sum(self, points: Sequence[Any], scalars: Sequence[int] | None = None) -> Any:
        """The same in G2."""

    def pairs_with_generator(self, signature: Any, keys: Sequence[Any], messages: Sequence[Any]) -> bool:
        """Whether e(generator, signature) is the product of e(key, message)."""


class _Decoded:
    """One item of a batch with its points."""

    __slots__ = ("key", "message", "signature")

    def __init__(self, key: Any, message: bytes, signature: Any) -> None:
        self.key = key
        self.message = message
        self.signature = signature


class Scheme:
    """The signature scheme over one curve. Caches validated public keys and hashed messages, boundedly."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self._key_point = lru_cache(maxsize=limits.bls_public_keys_cached_max)(self._decode_key)
        self._cached_message_point = lru_cache(maxsize=limits.bls_messages_cached_max)(curve.hash_to_g2)

    # -- keys

    def sk_to_pk(self, sk: bytes) -> BlsPublicKey:
        """The public key of a secret key. Raises KeyFormatError unless `sk` is 32 bytes of 1..order-1."""
        return BlsPublicKey(self.curve.g1_bytes(self.curve.g1_generator_times(_secret_scalar(sk))))

    def valid_public_key(self, data: bytes) -> bool:
        """Whether `data` is a public key: the one encoding of a point of the subgroup that is not infinity."""
        return self._key(data) is not None

    def valid_signature(self, data: bytes) -> bool:
        """Whether `data` is the one encoding of a point of G2's subgroup, infinity included."""
        return self._signature(data) is not None

    def decodes_g1(self, data: bytes) -> bool:
        """Whether `data` is the one encoding of a point of G1's subgroup, infinity included."""
        return _canonical(data, 1) and self.curve.g1_point(data) is not None

    # -- one message, one signature

    def sign(self, sk: bytes, message: bytes) -> BlsSignature:
        """The signature of `message`, 96 bytes. Raises KeyFormatError as `sk_to_pk` does."""
        return self._sign(sk, message, SIGNATURE_TAG)

    def verify(self, pk: bytes, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is `pk`'s over `message`."""
        return self._verify(pk, message, signature, SIGNATURE_TAG)

    def pop_prove(self, sk: bytes) -> BlsSignature:
        """The proof that `sk` is held by whoever shows its public key. Raises as `sk_to_pk` does."""
        return self._sign(sk, self.sk_to_pk(sk), POSSESSION_TAG)

    def pop_verify(self, pk: bytes, proof: bytes) -> bool:
        """Whether `proof` proves possession of `pk`'s secret key."""
        return self._verify(pk, pk, proof, POSSESSION_TAG)

    # -- aggregates

    def aggregate(self, signatures: Sequence[bytes]) -> BlsSignature:
        """The sum of signatures. Raises SignatureError where there is none or one is malformed."""
        if not signatures:
            raise SignatureError("no signature to aggregate", remedy="give at least one")
        points = []
        for signature in signatures:
            point = self._signature(signature)
            if point is None:
                raise SignatureError("a malformed signature can't be aggregated", value=signature)
            points.append(point)
        return BlsSignature(self.curve.g2_bytes(self.curve.g2_sum(points)))

    def fast_aggregate_verify(self, pks: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        """Whether `signature` is the sum of the signatures of all of `pks` over the one `message`."""
        keys = self._keys(pks)
        point = self._signature(signature)
        if keys is None or point is None:
            return False
        total = self.curve.g1_sum(keys)
        if self.curve.is_infinity(total):
            return False
        return self.curve.pairs_with_generator(point, [total], [self._message_point(message, SIGNATURE_TAG)])

    def aggregate_verify(self, pks: Sequence[bytes], messages: Sequence[bytes], signature: bytes) -> bool:
        """Whether `signature` is the sum of the signatures of each of `pks` over the message at its place."""
        if len(pks) != len(messages):
            return False
        keys = self._keys(pks)
        point = self._signature(signature)
        if keys is None or point is None:
            return False
        hashed = [self._message_point(message, SIGNATURE_TAG) for message in messages]
        return self.curve.pairs_with_generator(point, keys, hashed)

    # -- batches

    def batch_verify(self, items: Sequence[Item], coefficients: Sequence[int]) -> bool:
        """Whether every item verifies, by one product of pairings over a random linear combination.

        `coefficients` are one an item, 1..2**128-1, and unknown to whoever made the signatures (see
        `coefficients_from`): a forgery passes with probability 2**-127. No items at all do not verify.
        """
        _check_coefficients(items, coefficients)
        decoded = [self._decode_item(item) for item in items]
        if not decoded or None in decoded:
            return False
        return self._combined([item for item in decoded if item is not None], coefficients)

    def verify_many(self, items: Sequence[Item], coefficients: Sequence[int]) -> list[bool]:
        """A verdict an item: one batch where all are good, else bisection down to the culprits.

        Costs about 1 + 2 * culprits * log2(items) products of pairings. Coefficients as in `batch_verify`.
        """
        _check_coefficients(items, coefficients)
        verdicts = [False] * len(items)
        decoded: dict[int, _Decoded] = {}
        for place, item in enumerate(items):
            if (found := self._decode_item(item)) is not None:
                decoded[place] = found
        suspects = [(list(decoded), False)] if decoded else []
        while suspects:
            places, surely_bad = suspects.pop()
            if not surely_bad and self._combined(
                [decoded[p] for p in places], [coefficients[p] for p in places]
            ):
                for place in places:
                    verdicts[place] = True
            elif len(places) > 1:
                # One half being good, the other holds the culprit and needs no test of its own before it is split.
                left, right = places[: len(places) // 2], places[len(places) // 2 :]
                left_good = self._combined([decoded[p] for p in left], [coefficients[p] for p in left])
                for place in left if left_good else ():
                    verdicts[place] = True
                if not left_good:
                    suspects.append((left, True))
                suspects.append((right, left_good))
        return verdicts

    # -- inside

    def _combined(self, items: Sequence[_Decoded], coefficients: Sequence[int]) -> bool:
        """Whether the sum of coefficient times item holds. Items over one message share one pairing."""
        if len(items) == 1:
            coefficients = (1,)
        by_message: dict[bytes, tuple[list[Any], list[int]]] = {}
        for item, coefficient in zip(items, coefficients, strict=True):
            keys, scalars = by_message.setdefault(item.message, ([], []))
            keys.append(item.key)
            scalars.append(coefficient)
        return self.curve.pairs_with_generator(
            self.curve.g2_sum([item.signature for item in items], coefficients),
            [self.curve.g1_sum(keys, scalars) for keys, scalars in by_message.values()],
            [self._message_point(message, SIGNATURE_TAG) for message in by_message],
        )

    def _sign(self, sk: bytes, message: bytes, tag: bytes) -> BlsSignature:
        point = self.curve.g2_times(self._message_point(message, tag), _secret_scalar(sk))
        return BlsSignature(self.curve.g2_bytes(point))

    def _verify(self, pk: bytes, message: bytes, signature: bytes, tag: bytes) -> bool:
        key, point = self._key(pk), self._signature(signature)
        if key is None or point is None:
            return False
        return self.curve.pairs_with_generator(point, [key], [self._message_point(message, tag)])

    def _decode_item(self, item: Item) -> _Decoded | None:
        pk, message, signature = item
        key, point = self._key(pk), self._signature(signature)
        return None if key is None or point is None else _Decoded(key, message, point)

    def _message_point(self, message: bytes, tag: bytes) -> Any:
        # Votes sign 32 bytes and come in numbers over one message; what is long is not kept.
        short = len(message) <= limits.bls_message_bytes_cached_max
        return (self._cached_message_point if short else self.curve.hash_to_g2)(message, tag)

    def _keys(self, pks: Sequence[bytes]) -> list[Any] | None:
        """The points of all keys, or None where there is none or one is malformed."""
        points = [self._key(pk) for pk in pks]
        return points if points and None not in points else None

    def _key(self, data: bytes) -> Any | None:
        return self._key_point(bytes(data)) if len(data) == PUBLIC_KEY_BYTES else None

    def _decode_key(self, data: bytes) -> Any | None:
        point = self.curve.g1_point(data) if _canonical(data, 1) else None
        return None if point is None or self.curve.is_infinity(point) else point

    def _signature(self, data: bytes) -> Any | None:
        return self.curve.g2_point(data) if _canonical(data, 2) else None


def keygen(ikm: bytes) -> bytes:
    """A secret key, 32 bytes, from at least 32 bytes of secret key material (section 2.3; EIP-2333's master key).

    Raises KeyFormatError where the material is too short.
    """
    if len(ikm) < KEY_MATERIAL_BYTES_MIN:
        raise KeyFormatError(
            f"{len(ikm)} bytes of key material", remedy=f"give at least {KEY_MATERIAL_BYTES_MIN} random bytes"
        )
    length, salt = 48, b"BLS-SIG-KEYGEN-SALT-"
    while True:
        salt = sha256(salt).digest()
        extracted = hmac.digest(salt, ikm + b"\x00", "sha256")
        info = length.to_bytes(2, "big")
        first = hmac.digest(extracted, info + b"\x01", "sha256")
        second = hmac.digest(extracted, first + info + b"\x02", "sha256")
        scalar = int.from_bytes((first + second)[:length], "big") % GROUP_ORDER
        if scalar:
            return scalar.to_bytes(SECRET_KEY_BYTES, "big")


def coefficients_from(entropy: bytes, count: int) -> list[int]:
    """`count` coefficients of a batch from 16 bytes of entropy each, made odd so that none is zero."""
    assert len(entropy) == COEFFICIENT_BYTES * count, (
        f"{count} coefficients need {COEFFICIENT_BYTES * count} bytes"
    )
    parts = (entropy[i : i + COEFFICIENT_BYTES] for i in range(0, len(entropy), COEFFICIENT_BYTES))
    return [int.from_bytes(part, "big") | 1 for part in parts]


def _canonical(data: bytes, coordinates: int) -> bool:
    """Whether `data` can be the one encoding of a point whose x has so many coordinates of 48 bytes.

    The upper three bits are: compressed (always set), infinity (then all others are zero), sign of y.
    """
    if len(data) != 48 * coordinates:
        return False
    if not data[0] & 0x80:
        return False
    if data[0] & 0x40:
        return data[0] == 0xC0 and not any(data[1:])
    x = int.from_bytes(data[:48], "big") & ((1 << 381) - 1)
    return x < FIELD_MODULUS and (coordinates == 1 or int.from_bytes(data[48:], "big") < FIELD_MODULUS)


def _secret_scalar(sk: bytes) -> int:
    scalar = int.from_bytes(sk, "big")
    if len(sk) != SECRET_KEY_BYTES or not 0 < scalar < GROUP_ORDER:
        raise KeyFormatError(
            f"a BLS secret key is {SECRET_KEY_BYTES} bytes of a number from 1 to the group's order",
            value=f"{len(sk)} bytes out of range",
            remedy="make one with keygen",
        )
    return scalar


def _check_coefficients(items: Sequence[Item], coefficients: Sequence[int]) -> None:
    assert len(items) == len(coefficients), f"{len(coefficients)} coefficients for {len(items)} items"
    assert all(0 < coefficient <= COEFFICIENT_MAX for coefficient in coefficients), (
        "a coefficient out of range"
    )


def reference_scheme() -> Scheme:
    """The scheme over py_ecc, for comparison."""
    from omnitensor.protocol.bls_reference import ReferenceCurve

    return Scheme(ReferenceCurve())


def _fastest_scheme() -> Scheme:
    try:
        from omnitensor.protocol.bls_arkworks import ArkworksCurve
    except ImportError:
        return reference_scheme()
    return Scheme(ArkworksCurve())


SCHEME: Final = _fastest_scheme()
"""The scheme that this process uses."""

sk_to_pk = SCHEME.sk_to_pk
sign = SCHEME.sign
verify = SCHEME.verify
aggregate = SCHEME.aggregate
fast_aggregate_verify = SCHEME.fast_aggregate_verify
aggregate_verify = SCHEME.aggregate_verify
pop_prove = SCHEME.pop_prove
pop_verify = SCHEME.pop_verify
batch_verify = SCHEME.batch_verify
verify_many = SCHEME.verify_many
valid_public_key = SCHEME.valid_public_key
valid_signature = SCHEME.valid_signature
