"""BLS12-381 curve operations by py_arkworks_bls12381: 2 ms a verification. Decides nothing: what a signature
is worth is `bls`'s business.

Measured of version 0.5.0: pairings and multiplications of many points release the GIL; hashing to the curve
(0.7 ms), decompression (0.1 to 0.2 ms) and signing hold it. It takes several encodings of the point at infinity
(any with both upper flags set), which is why `bls` looks at the bytes before it passes them on.
"""

from __future__ import annotations

from collections.abc import Sequence

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

_NEGATED_GENERATOR = -G1Point()
_INFINITIES = (G1Point.identity(), G2Point.identity())


class ArkworksCurve:
    """The curve's operations on arkworks' points; see `bls.Curve`."""

    name = "arkworks"

    def g1_point(self, data: bytes) -> G1Point | None:
        try:
            return G1Point.from_compressed_bytes(data)
        except ValueError:
            return None

    def g2_point(self, data: bytes) -> G2Point | None:
        try:
            return G2Point.from_compressed_bytes(data)
        except ValueError:
            return None

    def g1_bytes(self, point: G1Point) -> bytes:
        return bytes(point.to_compressed_bytes())

    def g2_bytes(self, point: G2Point) -> bytes:
        return bytes(point.to_compressed_bytes())

    def is_infinity(self, point: G1Point | G2Point) -> bool:
        return point == _INFINITIES[isinstance(point, G2Point)]

    def hash_to_g2(self, message: bytes, tag: bytes) -> G2Point:
        return G2Point.hash_to_curve(message, tag)

    def g1_generator_times(self, scalar: int) -> G1Point:
        return G1Point() * Scalar(scalar)

    def g2_times(self, point: G2Point, scalar: int) -> G2Point:
        return point * Scalar(scalar)

    def g1_sum(self, points: Sequence[G1Point], scalars: Sequence[int] | None = None) -> G1Point:
        if scalars is not None:
            return G1Point.multiexp_unchecked(list(points), [Scalar(scalar) for scalar in scalars])
        return sum(points, G1Point.identity())

    def g2_sum(self, points: Sequence[G2Point], scalars: Sequence[int] | None = None) -> G2Point:
        if scalars is not None:
            return G2Point.multiexp_unchecked(list(points), [Scalar(scalar) for scalar in scalars])
        return sum(points, G2Point.identity())

    def pairs_with_generator(
        self, signature: G2Point, keys: Sequence[G1Point], messages: Sequence[G2Point]
    ) -> bool:
        return GT.pairing_check([_NEGATED_GENERATOR, *keys], [signature, *messages])
