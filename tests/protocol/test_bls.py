"""The BLS scheme: one verdict on both curves for whatever is thrown at it, batches, bisection, proofs of possession.

py_ecc's own ciphersuite, which shares the reference's arithmetic but none of our scheme, is the oracle of keys and
signatures. Slow verifications are few: most malformed inputs fall before a pairing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls.ciphersuites import G2ProofOfPossession

from omnitensor.protocol import bls
from omnitensor.protocol.bls import Scheme
from omnitensor.protocol.bls_arkworks import ArkworksCurve
from omnitensor.protocol.errors import KeyFormatError, SignatureError

Oracle: Any = G2ProofOfPossession  # its signatures have types of their own

FAST = Scheme(ArkworksCurve())
REFERENCE = bls.reference_scheme()
SCHEMES = [pytest.param(FAST, id="arkworks"), pytest.param(REFERENCE, id="py_ecc")]

INFINITE_KEY = b"\xc0" + bytes(47)
INFINITE_SIGNATURE = b"\xc0" + bytes(95)
MESSAGE = b"one message of thirty-two bytes."


@lru_cache
def secret(number: int) -> bytes:
    return bls.keygen(number.to_bytes(32, "big"))


@lru_cache
def public(number: int) -> bytes:
    return FAST.sk_to_pk(secret(number))


@lru_cache
def signature(number: int, message: bytes = MESSAGE) -> bytes:
    return FAST.sign(secret(number), message)


def negated(point: bytes) -> bytes:
    """The compressed point with the other y."""
    return bytes([point[0] ^ 0x20]) + point[1:]


def coefficients(count: int) -> list[int]:
    # Fixed for the tests: what matters is that the signers below did not choose their signatures by them.
    return bls.coefficients_from(bytes(b * 37 % 251 for b in range(16 * count)), count)


# -- keys and single signatures


@given(st.binary(min_size=32, max_size=80))
def test_keygen_is_the_standards(ikm: bytes) -> None:
    assert bls.keygen(ikm) == Oracle.KeyGen(ikm).to_bytes(32, "big")


def test_keygen_refuses_short_material() -> None:
    with pytest.raises(KeyFormatError, match="31 bytes"):
        bls.keygen(bytes(31))


def test_keys_signatures_and_proofs_are_those_of_the_oracle() -> None:
    sk = secret(1)
    number = int.from_bytes(sk, "big")
    for scheme in (FAST, REFERENCE):
        assert scheme.sk_to_pk(sk) == Oracle.SkToPk(number)
        assert scheme.sign(sk, MESSAGE) == Oracle.Sign(number, MESSAGE)
        assert scheme.pop_prove(sk) == Oracle.PopProve(number)
    assert Oracle.Verify(public(1), MESSAGE, signature(1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_verdicts_on_one_signature(scheme: Scheme) -> None:
    assert scheme.verify(public(1), MESSAGE, signature(1))
    assert not scheme.verify(public(1), MESSAGE + b"x", signature(1))
    assert not scheme.verify(public(2), MESSAGE, signature(1))
    assert not scheme.verify(public(1), MESSAGE, negated(signature(1)))
    assert not scheme.verify(public(1), MESSAGE, INFINITE_SIGNATURE)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_proof_of_possession_is_no_signature_of_the_key(scheme: Scheme) -> None:
    proof = FAST.pop_prove(secret(1))
    assert scheme.pop_verify(public(1), proof)
    assert not scheme.verify(public(1), public(1), proof)
    assert not scheme.pop_verify(public(1), signature(1, public(1)))
    assert not scheme.pop_verify(public(2), proof)
    assert not scheme.pop_verify(INFINITE_KEY, INFINITE_SIGNATURE)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "sk",
    [
        b"",
        bytes(32),
        bytes(31),
        bytes(33),
        b"\xff" * 32,
        bls.GROUP_ORDER.to_bytes(32, "big"),
        secret(1) + b"\x00",
    ],
)
def test_what_is_no_secret_key_is_refused_and_not_repeated(scheme: Scheme, sk: bytes) -> None:
    for use in (scheme.sk_to_pk, scheme.pop_prove, lambda key: scheme.sign(key, MESSAGE)):
        with pytest.raises(KeyFormatError) as caught:
            use(sk)
        assert not sk or sk.hex() not in str(caught.value)


def test_the_largest_secret_key_is_one() -> None:
    largest = (bls.GROUP_ORDER - 1).to_bytes(32, "big")
    assert (
        FAST.sk_to_pk(largest)
        == REFERENCE.sk_to_pk(largest)
        == negated(FAST.sk_to_pk((1).to_bytes(32, "big")))
    )


# -- malformed points


def strange_points(good: bytes) -> st.SearchStrategy[bytes]:
    """Points with turned bits, other flags, other lengths, and plain noise."""
    size = len(good)

    def turn(bits: list[int]) -> bytes:
        value = int.from_bytes(good, "big")
        for bit in bits:
            value ^= 1 << bit
        return value.to_bytes(size, "big")

    flags = st.integers(0, 7).map(lambda flag: bytes([flag << 5 | good[0] & 0x1F]) + good[1:])
    zeros = st.tuples(st.integers(0, 255), st.integers(0, size - 2), st.integers(0, 1)).map(
        lambda t: bytes([t[0]]) + bytes(t[1]) + bytes([t[2]]) + bytes(size - 2 - t[1])
    )
    top = st.integers(-2, 2).map(
        lambda step: ((0b100 << 381 | bls.FIELD_MODULUS + step) << 8 * (size - 48)).to_bytes(size, "big")
    )
    lengths = st.integers(0, size + 2).map(lambda length: (good + b"\x00\x00")[:length])
    return st.one_of(
        st.lists(st.integers(0, 8 * size - 1), min_size=1, max_size=3).map(turn),
        flags,
        zeros,
        top,
        lengths,
        st.binary(min_size=size, max_size=size),
        st.just(b"\xff" * size),
    )


@settings(max_examples=60, deadline=None)
@given(strange_points(public(1)))
def test_both_curves_take_the_same_public_keys(data: bytes) -> None:
    verdict = FAST.valid_public_key(data)
    assert verdict is REFERENCE.valid_public_key(data)
    assert verdict is (len(data) == 48 and Oracle.KeyValidate(data))
    if data != public(1):
        assert not FAST.verify(data, MESSAGE, signature(1))


@settings(max_examples=40, deadline=None)
@given(strange_points(signature(1)))
def test_both_curves_take_the_same_signatures(data: bytes) -> None:
    assert FAST.valid_signature(data) is REFERENCE.valid_signature(data)
    if data != signature(1):
        assert not FAST.verify(public(1), MESSAGE, data)
        assert not FAST.pop_verify(public(1), data)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("first", [0xE0, 0xFF, 0xC1, 0x40, 0x80, 0xA0])
@pytest.mark.parametrize("rest", [0x00, 0xFF])
def test_infinity_has_one_encoding(scheme: Scheme, first: int, rest: int) -> None:
    """arkworks alone takes any bytes with the two upper flags set for the point at infinity."""
    assert not scheme.decodes_g1(bytes([first]) + bytes([rest]) * 47)
    assert not scheme.valid_signature(bytes([first]) + bytes([rest]) * 95)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_infinite_key_proves_nothing(scheme: Scheme) -> None:
    assert scheme.decodes_g1(INFINITE_KEY)
    assert not scheme.valid_public_key(INFINITE_KEY)
    assert not scheme.verify(INFINITE_KEY, MESSAGE, INFINITE_SIGNATURE)
    assert not scheme.fast_aggregate_verify([INFINITE_KEY], MESSAGE, INFINITE_SIGNATURE)
    assert not scheme.fast_aggregate_verify([public(1), INFINITE_KEY], MESSAGE, signature(1))
    assert not scheme.aggregate_verify([public(1), INFINITE_KEY], [MESSAGE, MESSAGE], signature(1))
    assert not scheme.batch_verify([(INFINITE_KEY, MESSAGE, INFINITE_SIGNATURE)], [1])
    # Keys whose sum is infinity: their aggregate would be signed by infinity.
    opposed = [public(1), negated(public(1))]
    assert not scheme.fast_aggregate_verify(opposed, MESSAGE, INFINITE_SIGNATURE)


# -- aggregates


@pytest.mark.parametrize("scheme", SCHEMES)
def test_aggregates(scheme: Scheme) -> None:
    keys, total = [public(1), public(2)], FAST.aggregate([signature(1), signature(2)])
    assert total == Oracle.Aggregate([signature(1), signature(2)])
    assert scheme.aggregate([signature(1), signature(2)]) == total
    assert scheme.fast_aggregate_verify(keys, MESSAGE, total)
    assert not scheme.fast_aggregate_verify([*keys, public(1)], MESSAGE, total)
    assert not scheme.fast_aggregate_verify(keys[:1], MESSAGE, total)
    mixed = FAST.aggregate([signature(1), signature(2, b"another")])
    assert scheme.aggregate_verify(keys, [MESSAGE, b"another"], mixed)
    assert not scheme.aggregate_verify(keys, [b"another", MESSAGE], mixed)
    assert not scheme.aggregate_verify(keys, [MESSAGE], mixed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_empty_and_malformed_aggregates(scheme: Scheme) -> None:
    for wrong in (INFINITE_SIGNATURE, b"", bytes(96)):
        assert not scheme.fast_aggregate_verify([], MESSAGE, wrong)
        assert not scheme.aggregate_verify([], [], wrong)
    with pytest.raises(SignatureError, match="no signature"):
        scheme.aggregate([])
    with pytest.raises(SignatureError, match="malformed"):
        scheme.aggregate([signature(1), b"\xff" * 96])
    with pytest.raises(SignatureError, match="malformed"):
        scheme.aggregate([signature(1)[:-1]])


# -- batches


def batch(count: int, messages: int) -> list[bls.Item]:
    return [
        (public(n), b"message %d" % (n % messages), signature(n, b"message %d" % (n % messages)))
        for n in range(count)
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_good_batch(scheme: Scheme) -> None:
    items = batch(4, messages=2)
    assert scheme.batch_verify(items, coefficients(4))
    assert scheme.verify_many(items, coefficients(4)) == [True] * 4
    assert not scheme.batch_verify([], [])
    assert scheme.verify_many([], []) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_errors_that_cancel_are_found(scheme: Scheme) -> None:
    """Two signatures shifted by opposite points: their plain sum is right, and neither is."""
    shift = signature(9)
    forged = [
        (public(1), MESSAGE, FAST.aggregate([signature(1), shift])),
        (public(2), MESSAGE, FAST.aggregate([signature(2), negated(shift)])),
    ]
    assert scheme.batch_verify(forged, [1, 1])
    assert not scheme.batch_verify(forged, coefficients(2))
    assert scheme.verify_many(forged, coefficients(2)) == [False, False]


DAMAGES: list[Callable[[bls.Item], bls.Item]] = [
    lambda item: (item[0], item[1], negated(item[2])),
    lambda item: (item[0], item[1] + b"x", item[2]),
    lambda item: (item[0], item[1], INFINITE_SIGNATURE),
    lambda item: (INFINITE_KEY, item[1], item[2]),
    lambda item: (item[0][:-1], item[1], item[2]),
    lambda item: (item[0], item[1], b"\xff" * 96),
    lambda item: (item[0], item[1], b""),
    lambda item: (b"", b"", b""),
]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.data())
def test_bisection_finds_exactly_the_culprits(count: int, messages: int, draw: st.DataObject) -> None:
    items = batch(count, messages)
    culprits = draw.draw(st.sets(st.integers(0, count - 1)))
    for culprit in culprits:
        items[culprit] = draw.draw(st.sampled_from(DAMAGES))(items[culprit])
    expected = [FAST.verify(*item) for item in items]
    assert expected == [place not in culprits for place in range(count)]
    assert FAST.verify_many(items, coefficients(count)) == expected
    assert FAST.batch_verify(items, coefficients(count)) is all(expected)


def test_bisection_on_the_reference() -> None:
    items = batch(3, messages=1)
    items[1] = DAMAGES[0](items[1])
    assert REFERENCE.verify_many(items, coefficients(3)) == [True, False, True]


def test_one_culprit_costs_few_pairings() -> None:
    class Counting(ArkworksCurve):
        products = 0

        def pairs_with_generator(self, *args: object) -> bool:
            self.products += 1
            return super().pairs_with_generator(*args)  # type: ignore[arg-type]  # passed on as they came

    curve = Counting()
    items = batch(64, messages=1)
    assert Scheme(curve).verify_many(items, coefficients(64)) == [True] * 64
    assert curve.products == 1
    items[37] = DAMAGES[0](items[37])
    assert Scheme(curve).verify_many(items, coefficients(64)).count(False) == 1
    assert curve.products - 1 <= 1 + 2 * 6


@pytest.mark.parametrize("wrong", [[1], [1, 0], [1, -1], [1, 2**128], [1, 1, 1]])
def test_coefficients_out_of_range_are_a_bug(wrong: list[int]) -> None:
    with pytest.raises(AssertionError):
        FAST.batch_verify(batch(2, 1), wrong)
    with pytest.raises(AssertionError):
        FAST.verify_many(batch(2, 1), wrong)


def test_coefficients_come_from_entropy() -> None:
    assert bls.coefficients_from(bytes(32), 2) == [1, 1]
    assert bls.coefficients_from(b"\x00" * 15 + b"\x04" + b"\xff" * 16, 2) == [5, 2**128 - 1]
    with pytest.raises(AssertionError):
        bls.coefficients_from(bytes(31), 2)


# -- the seam


def test_the_process_uses_the_fast_curve_where_it_is_installed() -> None:
    assert bls.SCHEME.curve.name == "arkworks"
    assert bls.verify(public(1), MESSAGE, signature(1))


def test_without_arkworks_the_reference_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "omnitensor.protocol.bls_arkworks", None)
    assert bls._fastest_scheme().curve.name == "py_ecc"


def test_long_messages_are_not_kept() -> None:
    scheme = Scheme(ArkworksCurve())
    sk = secret(1)
    for length in (0, 32, 128, 129, 100_000):
        assert scheme.verify(public(1), bytes(length), scheme.sign(sk, bytes(length)))
    assert scheme._cached_message_point.cache_info().currsize == 3
