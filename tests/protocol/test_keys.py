"""Account keys: signatures against RFC 8032 and another library, addresses and secret texts, and what must not show."""

from __future__ import annotations

import hmac
import traceback

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import bech32m, keys
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.keys import SigningKey, format_address, shown_addresses
from omnitensor.protocol.types import Address

# RFC 8032, section 7.1, tests 1 and 2: secret, public, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0"
        "595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eae"
        "b4302aeeb00d291612bb0c00",
    ),
]

seeds = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_rfc8032(secret: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(secret))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert keys.verify(key.public, bytes.fromhex(message), bytes.fromhex(signature))


@given(seeds, st.binary(max_size=200))
def test_signatures_are_those_of_another_library(seed: bytes, message: bytes) -> None:
    key, other = SigningKey(seed), Ed25519PrivateKey.from_private_bytes(seed)
    assert key.public == other.public_key().public_bytes_raw()
    assert key.sign(message) == other.sign(message)
    assert keys.verify(key.public, message, key.sign(message))


@given(st.binary(max_size=70), st.binary(max_size=40), st.binary(max_size=70))
def test_verify_never_raises(public: bytes, message: bytes, signature: bytes) -> None:
    assert not keys.verify(public, message, signature)


@given(seeds, st.binary(min_size=1, max_size=40), st.integers(0, 511), st.integers(0, 255))
def test_one_turned_bit_fails(seed: bytes, message: bytes, place: int, key_place: int) -> None:
    key = SigningKey(seed)
    signature = key.sign(message)
    assert not keys.verify(key.public, message, turned(signature, place))
    assert not keys.verify(turned(key.public, key_place), message, signature)
    assert not keys.verify(key.public, turned(message, place % (8 * len(message))), signature)


def turned(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")


ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY = (1).to_bytes(32, "little")
NON_CANONICAL_IDENTITY = (2**255 - 19 + 1).to_bytes(32, "little")


@pytest.mark.parametrize("public", [IDENTITY, NON_CANONICAL_IDENTITY, bytes(32), b"\xff" * 32])
def test_keys_of_small_order_sign_nothing(public: bytes) -> None:
    """With such a key, R the identity and S zero "sign" every message for a lax verifier."""
    for commitment in (IDENTITY, NON_CANONICAL_IDENTITY, public):
        assert not keys.verify(public, b"any message", commitment + bytes(32))


def test_a_signature_has_one_form() -> None:
    key = SigningKey(bytes(32))
    signature = key.sign(b"once")
    again = int.from_bytes(signature[32:], "little") + ORDER
    assert not keys.verify(key.public, b"once", signature[:32] + again.to_bytes(32, "little"))


@given(seeds)
def test_addresses_round_trip(seed: bytes) -> None:
    key = SigningKey(seed)
    text = keys.format_address(key.address)
    assert text.startswith("omnit1")
    assert len(text) == 65
    assert keys.parse_address(text) == keys.parse_address(f" {text.upper()}\n") == key.address
    assert keys.public_of(key.address) == key.public
    assert key.address == bytes([0]) + key.public


@pytest.mark.parametrize(
    "text",
    [
        "",
        "omnit1",
        "not an address",
        keys.format_address(SigningKey(bytes(32)).address)[:-1],
        bech32m.encode("omnit", bytes(32)),
        bech32m.encode("omnit", b"\x03" + bytes(32)),
        bech32m.encode("cosmos", bytes(33)),
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.parse_address(text)
    assert caught.value.remedy
    if text and " " not in text:
        assert text in str(caught.value)


@pytest.mark.parametrize("address", [b"", bytes(32), bytes(34), b"\x01" + bytes(32)])
def test_bytes_that_are_no_address(address: bytes) -> None:
    with pytest.raises(KeyFormatError, match="not an address"):
        keys.public_of(Address(address))


SEED = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        SEED.hex(),
        "0x" + SEED.hex().upper(),
        "  " + SEED.hex() + "\n",
        keys.format_secret(SigningKey(SEED)),
        keys.format_secret(SigningKey(SEED)).upper(),
    ],
)
def test_secret_texts(text: str) -> None:
    assert keys.parse_secret(text).seed == SEED


def test_api_keys() -> None:
    text = keys.format_api_key(SigningKey(SEED))
    assert text.startswith("otk1")
    assert keys.parse_api_key(text) == SigningKey(SEED)
    for wrong in (keys.format_secret(SigningKey(SEED)), SEED.hex(), text[:-1], ""):
        with pytest.raises(KeyFormatError):
            keys.parse_api_key(wrong)
    with pytest.raises(KeyFormatError):
        keys.parse_secret(text)


ABANDON = "abandon " * 11 + "about"
# BIP-39's own vector for these words with the passphrase "TREZOR".
ABANDON_SEED = bytes.fromhex(
    "c55257c360c07c72029aebc1b53c05ed0362ada38ead3e3e9efa3708e53495531f09a6987599d18264c1e1c92f2cf141630c7a3c4ab7c8"
    "1b2f001698e7463b04"
)


def test_a_mnemonic_gives_the_documented_key() -> None:
    extracted = hmac.digest(bytes(32), ABANDON_SEED, "sha256")
    expected = hmac.digest(extracted, b"omnitensor/account/ed25519/v1\x01", "sha256")
    assert keys.parse_secret(ABANDON, passphrase="TREZOR").seed == expected
    assert keys.parse_secret(f"  {ABANDON.upper()}  ", passphrase="TREZOR").seed == expected
    assert keys.parse_secret(ABANDON).seed != expected


@pytest.mark.parametrize("words", [12, 15, 18, 21, 24])
def test_new_mnemonics(words: int) -> None:
    phrase = keys.generate_mnemonic(words)
    assert len(phrase.split()) == words
    assert keys.parse_secret(phrase) == keys.parse_secret(phrase)
    assert keys.generate_mnemonic(words) != phrase


@pytest.mark.parametrize(
    "text",
    [
        "",
        SEED.hex()[:-1],
        SEED.hex() + "00",
        "zz" * 32,
        "omsk1qqqq",
        keys.format_secret(SigningKey(SEED))[:-1] + "q",
        bech32m.encode("omsk", SEED + b"x"),
        "abandon " * 12,
        "abandon " * 11,
        "abandom " * 11 + "about",
        "sécret " * 12,
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.parse_secret(text)
    shown = "".join(traceback.format_exception_only(caught.value)) + str(caught.value.value)
    assert not any(word in shown for word in text.split())
    assert caught.value.remedy


@pytest.mark.parametrize(
    "secret", [SEED.hex(), keys.format_secret(SigningKey(SEED)), ABANDON, "omsk1 broken"]
)
def test_a_secret_given_for_an_address_is_not_repeated(secret: str) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.parse_address(secret)
    assert secret not in str(caught.value)
    assert secret.split()[0] not in caught.value.value


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(KeyFormatError, match="32 bytes"):
        SigningKey(bytes(length))


@settings(max_examples=20)
@given(seeds)
def test_a_key_shows_its_address_and_never_its_secret(seed: bytes) -> None:
    key = SigningKey(seed)
    for shown in (repr(key), str(key), f"{key}"):
        assert keys.format_address(key.address) in shown
        assert seed.hex() not in shown
        assert keys.format_secret(key) not in shown


def test_new_keys_differ() -> None:
    assert SigningKey.generate() != SigningKey.generate()
    assert len({SigningKey(SEED), SigningKey(SEED)}) == 1


def test_addresses_in_a_sentence_are_shown_as_people_write_them() -> None:
    address = SigningKey.generate().address
    text = f"there is no such validator: {address.hex()} (see who there is)"
    assert (
        shown_addresses(text) == f"there is no such validator: {format_address(address)} (see who there is)"
    )
    for other in ("ab" * 32, "ff" * 33, f"x{address.hex()}", ""):
        assert shown_addresses(other) == other
