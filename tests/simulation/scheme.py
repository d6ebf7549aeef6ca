"""Signatures for the simulation: keyed hashes that nobody in it can forge, at a hundredth of the cost of curves.

A signature of a message is a hash of the signer's secret and the message; an aggregate is the XOR of signatures. Verifying looks
the secret up by the public key, which only this class can: adversaries get their own secrets and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from omnitensor.protocol import bls
from omnitensor.protocol.types import BlsPublicKey, BlsSignature

SIGNATURE_BYTES = 96


def _xor(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).to_bytes(SIGNATURE_BYTES, "big")


class SimSum:
    """XOR of signatures."""

    def __init__(self) -> None:
        self._sum = bytes(SIGNATURE_BYTES)

    def add(self, signature: bytes) -> None:
        self._sum = _xor(self._sum, signature)

    def signature(self) -> BlsSignature:
        return BlsSignature(self._sum)


class SimScheme:
    """The scheme of one simulated world."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, bytes] = {}
        self._signed: dict[tuple[bytes, bytes], BlsSignature] = {}

    def key(self, secret: bytes) -> BlsPublicKey:
        public = blake2b(b"public" + secret, digest_size=48).digest()
        self._secrets[public] = secret
        return BlsPublicKey(public)

    def sign(self, secret: bytes, message: bytes) -> BlsSignature:
        found = self._signed.get((secret, message))
        if found is None:
            half = blake2b(secret + message, digest_size=48).digest()
            found = self._signed[secret, message] = BlsSignature(half + half[::-1])
        return found

    def verify(self, pk: bytes, message: bytes, signature: bytes) -> bool:
        return pk in self._secrets and self.sign(self._secrets[pk], message) == signature

    def pop_prove(self, secret: bytes) -> BlsSignature:
        return self.sign(secret, b"possession" + self.key(secret))

    def pop_verify(self, pk: bytes, proof: bytes) -> bool:
        return self.verify(pk, b"possession" + pk, proof)

    def verify_many(self, items: Sequence[bls.Item], coefficients: Sequence[int]) -> list[bool]:
        return [
            public in self._secrets and self.sign(self._secrets[public], message) == signature
            for public, message, signature in items
        ]

    def fast_aggregate_verify(self, pks: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        total = SimSum()
        for public in pks:
            if public not in self._secrets:
                return False
            total.add(self.sign(self._secrets[public], message))
        return bool(pks) and total.signature() == signature

    def new_sum(self) -> SimSum:
        return SimSum()


class RealScheme:
    """BLS behind the same face, for the run that shows that the seam is not what makes the simulation pass."""

    def __init__(self) -> None:
        from consensus.stake.scheme import BlsScheme

        product = BlsScheme()
        self.verify_many = product.verify_many
        self.verify, self.pop_verify = bls.verify, bls.pop_verify
        self.fast_aggregate_verify = product.fast_aggregate_verify
        self.new_sum = product.new_sum

    def key(self, secret: bytes) -> BlsPublicKey:
        return bls.sk_to_pk(bls.keygen(secret))

    def sign(self, secret: bytes, message: bytes) -> BlsSignature:
        return bls.sign(bls.keygen(secret), message)

    def pop_prove(self, secret: bytes) -> BlsSignature:
        return bls.pop_prove(bls.keygen(secret))
