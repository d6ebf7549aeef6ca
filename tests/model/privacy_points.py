"""Points of curve25519 that keep no secret, after RFC 7748. Part of the model; shares no code with the ledger."""

from __future__ import annotations

PRIME = 2**255 - 19


def keeps_a_secret(public: bytes) -> bool:
    """Whether a point of curve25519 is of large order: eight times a point of small order is nothing (RFC 7748, section 5)."""
    return len(public) == 32 and _times(8, int.from_bytes(public, "little") % 2**255 % PRIME) != 0


def _times(scalar: int, u: int) -> int:
    """The u-coordinate of a multiple of a point; 0 for the one at infinity."""
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in f"{scalar:b}":
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        x3, z3 = (d * a + c * b) ** 2 % PRIME, u * (d * a - c * b) ** 2 % PRIME
        e = a * a - b * b
        x2, z2 = a * a * b * b % PRIME, e * (a * a + 121665 * e) % PRIME
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, PRIME - 2, PRIME) % PRIME
