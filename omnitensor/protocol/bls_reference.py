"""BLS12-381 curve operations by py_ecc: slow (0.4 s a verification), readable, and the fallback where
arkworks has no wheel. Decides nothing: what a signature is worth is `bls`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

from eth_typing import BLSPubkey, BLSSignature
from py_ecc.bls.g2_primitives import (
    G1_to_pubkey,
    G2_to_signature,
    pubkey_to_G1,
    signature_to_G2,
    subgroup_check,
)
from py_ecc.bls.hash_to_curve import hash_to_G2
from py_ecc.fields import optimized_bls12_381_FQ12 as FQ12
from py_ecc.optimized_bls12_381.optimized_curve import G1, Z1, Z2, add, is_inf, multiply, neg
from py_ecc.optimized_bls12_381.optimized_pairing import final_exponentiate, pairing

Point = Any  # py_ecc's own types of points do not compose under strict checking


class ReferenceCurve:
    """The curve's operations on py_ecc's projective points; see `bls.Curve`."""

    name = "py_ecc"

    def g1_point(self, data: bytes) -> Point | None:
        try:
            point = pubkey_to_G1(BLSPubkey(data))
        except (ValueError, AssertionError):
            return None
        return point if subgroup_check(point) else None

    def g2_point(self, data: bytes) -> Point | None:
        try:
            point = signature_to_G2(BLSSignature(data))
        except (ValueError, AssertionError):
            return None
        return point if subgroup_check(point) else None

    def g1_bytes(self, point: Point) -> bytes:
        return bytes(G1_to_pubkey(point))

    def g2_bytes(self, point: Point) -> bytes:
        return bytes(G2_to_signature(point))

    def is_infinity(self, point: Point) -> bool:
        return bool(is_inf(point))

    def hash_to_g2(self, message: bytes, tag: bytes) -> Point:
        return hash_to_G2(message, tag, cast(Any, sha256))

    def g1_generator_times(self, scalar: int) -> Point:
        return multiply(G1, scalar)

    def g2_times(self, point: Point, scalar: int) -> Point:
        return multiply(point, scalar)

    def g1_sum(self, points: Sequence[Point], scalars: Sequence[int] | None = None) -> Point:
        return _sum(points, scalars, Z1)

    def g2_sum(self, points: Sequence[Point], scalars: Sequence[int] | None = None) -> Point:
        return _sum(points, scalars, Z2)

    def pairs_with_generator(
        self, signature: Point, keys: Sequence[Point], messages: Sequence[Point]
    ) -> bool:
        product = pairing(signature, neg(G1), final_exponentiate=False)
        for key, message in zip(keys, messages, strict=True):
            product = product * pairing(message, key, final_exponentiate=False)
        return bool(final_exponentiate(product) == FQ12.one())


def _sum(points: Sequence[Point], scalars: Sequence[int] | None, zero: Point) -> Point:
    total = zero
    for point, scalar in zip(points, scalars if scalars is not None else [1] * len(points), strict=True):
        total = add(total, multiply(point, scalar) if scalar != 1 else point)
    return cast(Point, total)
