"""Ethereum's BLS vectors, every case on both curves."""

from __future__ import annotations

from typing import Any

import pytest

from omnitensor.protocol import bls
from omnitensor.protocol.bls import Scheme
from omnitensor.protocol.bls_arkworks import ArkworksCurve
from omnitensor.protocol.errors import ProtocolError
from tests.protocol.vector_file import VectorFile

FILE = "vectors/bls12-381.json"


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def raws(texts: list[str]) -> list[bytes]:
    return [raw(text) for text in texts]


def check_sign(scheme: Scheme, case: dict[str, Any]) -> None:
    sk, message = raw(case["input"]["privkey"]), raw(case["input"]["message"])
    if case["output"] is None:
        with pytest.raises(ProtocolError):
            scheme.sign(sk, message)
    else:
        assert scheme.sign(sk, message) == raw(case["output"])


def check_aggregate(scheme: Scheme, case: dict[str, Any]) -> None:
    if case["output"] is None:
        with pytest.raises(ProtocolError):
            scheme.aggregate(raws(case["input"]))
    else:
        assert scheme.aggregate(raws(case["input"])) == raw(case["output"])


def check_verify(scheme: Scheme, case: dict[str, Any]) -> None:
    given = case["input"]
    verdict = scheme.verify(raw(given["pubkey"]), raw(given["message"]), raw(given["signature"]))
    assert verdict is case["output"]


def check_fast_aggregate_verify(scheme: Scheme, case: dict[str, Any]) -> None:
    given = case["input"]
    verdict = scheme.fast_aggregate_verify(
        raws(given["pubkeys"]), raw(given["message"]), raw(given["signature"])
    )
    assert verdict is case["output"]


def check_aggregate_verify(scheme: Scheme, case: dict[str, Any]) -> None:
    given = case["input"]
    verdict = scheme.aggregate_verify(
        raws(given["pubkeys"]), raws(given["messages"]), raw(given["signature"])
    )
    assert verdict is case["output"]


def check_batch_verify(scheme: Scheme, case: dict[str, Any]) -> None:
    given = case["input"]
    items = list(zip(raws(given["pubkeys"]), raws(given["messages"]), raws(given["signatures"]), strict=True))
    coefficients = [
        0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15F39CC0605CEDC834 * i % 2**100 for i in range(len(items))
    ]
    assert scheme.batch_verify(items, coefficients) is case["output"]
    assert all(scheme.verify_many(items, coefficients)) is case["output"]


def check_g1(scheme: Scheme, case: dict[str, Any]) -> None:
    data = raw(case["input"]["pubkey"])
    assert scheme.decodes_g1(data) is case["output"]
    infinity = data == b"\xc0" + bytes(47)
    assert scheme.valid_public_key(data) is (case["output"] and not infinity)


def check_g2(scheme: Scheme, case: dict[str, Any]) -> None:
    assert scheme.valid_signature(raw(case["input"]["signature"])) is case["output"]


def check_hash_to_g2(scheme: Scheme, case: dict[str, Any]) -> None:
    # The vectors' own tag; a point is compared by its compressed bytes, made here from its coordinates.
    tag = b"QUUX-V01-CS02-with-BLS12381G2_XMD:SHA-256_SSWU_RO_"
    point = scheme.curve.hash_to_g2(case["input"]["msg"].encode(), tag)
    assert scheme.curve.g2_bytes(point) == compressed(case["output"]["x"], case["output"]["y"])


def compressed(x: str, y: str) -> bytes:
    """A G2 point's 96 bytes from coordinates written "real,imaginary"."""
    x_real, x_imaginary = (int(part, 16) for part in x.split(","))
    y_real, y_imaginary = (int(part, 16) for part in y.split(","))
    deciding = y_imaginary or y_real
    flags = 0b100 | (deciding > (bls.FIELD_MODULUS - 1) // 2)
    return (flags << 381 | x_imaginary).to_bytes(48, "big") + x_real.to_bytes(48, "big")


CHECKS = {
    "sign": check_sign,
    "aggregate": check_aggregate,
    "verify": check_verify,
    "fast_aggregate_verify": check_fast_aggregate_verify,
    "aggregate_verify": check_aggregate_verify,
    "batch_verify": check_batch_verify,
    "deserialization_G1": check_g1,
    "deserialization_G2": check_g2,
    "hash_to_G2": check_hash_to_g2,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheme", [Scheme(ArkworksCurve()), bls.reference_scheme()], ids=lambda s: s.curve.name
)
def test_every_case(scheme: Scheme) -> None:
    file = VectorFile(FILE, depth=2)
    wrong = []
    for kind, check in CHECKS.items():
        for name, case in file.under(kind):
            try:
                check(scheme, case)
            except Exception as error:
                wrong.append(f"{name}: {error!r}")
    assert not wrong, wrong
    file.done()
