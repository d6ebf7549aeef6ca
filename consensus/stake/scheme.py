"""The signature scheme as consensus sees it: verify votes, verify an aggregate, add up signatures. A seam and its BLS side.

The seam is there so that a simulation can run on something cheaper. Nothing here knows what is signed.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from omnitensor.protocol import bls
from omnitensor.protocol.types import BlsSignature


class SignatureSum(Protocol):
    """A growing aggregate of signatures over one message."""

    def add(self, signature: bytes) -> None:
        """Add a signature that was verified."""

    def signature(self) -> BlsSignature:
        """The aggregate of all that were added, 96 bytes."""


class Scheme(Protocol):
    """What consensus needs of signatures. Verifiers answer False for anything malformed and never raise."""

    def verify_many(self, items: Sequence[bls.Item], coefficients: Sequence[int]) -> list[bool]:
        """A verdict for each (public key, message, signature); one combined check when all are good, else bisection."""

    def fast_aggregate_verify(self, pks: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is the aggregate of the signatures of all of ``pks`` over ``message``."""

    def new_sum(self) -> SignatureSum: ...


class BlsSum:
    """The sum of BLS signatures, one decompression (about 0.2 ms) an addition, so that no event pays for all at once."""

    def __init__(self, curve: bls.Curve) -> None:
        self._curve = curve
        self._point: Any = None

    def add(self, signature: bytes) -> None:
        point = self._curve.g2_point(signature)
        assert point is not None, "a vote is verified before it is counted"
        self._point = point if self._point is None else self._curve.g2_sum([self._point, point])

    def signature(self) -> BlsSignature:
        assert self._point is not None, "there is no aggregate of nothing"
        return BlsSignature(self._curve.g2_bytes(self._point))


class BlsScheme:
    """BLS over BLS12-381 with proof of possession (``omnitensor.protocol.bls``)."""

    def __init__(self, scheme: bls.Scheme = bls.SCHEME) -> None:
        self._scheme: Final = scheme
        self.verify_many: Final = scheme.verify_many
        self.fast_aggregate_verify: Final = scheme.fast_aggregate_verify

    def new_sum(self) -> BlsSum:
        return BlsSum(self._scheme.curve)
