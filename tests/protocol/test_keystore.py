"""Keystores: EIP-2335's vectors, round trips, wrong passwords, tampering, costs that are not paid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omnitensor.protocol import bls, keystore, limits
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.keys import SigningKey, format_address
from omnitensor.protocol.keystore import KeystoreError, WrongPasswordError
from tests.protocol.vector_file import VectorFile

PASSWORD = "correct horse battery staple"
CHEAP = 2**10
KEY = SigningKey(bytes(range(32)))
SK = bls.keygen(bytes(32))
ACCOUNT = keystore.encrypt_account(KEY, PASSWORD, scrypt_n=CHEAP)
VALIDATOR = keystore.encrypt_bls(SK, PASSWORD, scrypt_n=CHEAP, path="m/12381/3600/0/0/0", description="one")


def changed(data: bytes, path: str, value: Any) -> bytes:
    """The JSON with one field put to another value, or taken out where the value is None."""
    document = json.loads(data)
    inner = document
    *outer, last = path.split(".")
    for name in outer:
        inner = inner[name]
    assert last in inner
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(document).encode()


def flipped(data: bytes, path: str) -> bytes:
    """The JSON with the first digit of a hexadecimal field changed."""
    value = json.loads(data)
    for name in path.split("."):
        value = value[name]
    return changed(data, path, ("0" if value[0] != "0" else "1") + value[1:])


def test_eip2335_vectors() -> None:
    file = VectorFile("vectors/eip2335.json", depth=1)
    for _, case in file.under():
        password = bytes.fromhex(case["password_utf8_hex"]).decode()
        data = json.dumps(case["keystore"]).encode()
        secret = keystore.decrypt_bls(data, password)
        assert secret.hex() == case["secret_hex"]
        assert bls.sk_to_pk(secret).hex() == case["keystore"]["pubkey"]
    file.done()


def test_the_standards_password_reads_as_plain_letters() -> None:
    """EIP-2335 decomposes the mathematical letters of its example to plain ones and drops control characters."""
    fancy = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑"
    data = keystore.encrypt_bls(SK, fancy, function="pbkdf2", pbkdf2_rounds=1)
    assert keystore.decrypt_bls(data, "test\x00pass\x7fword\x9f🔑\n") == SK
    with pytest.raises(WrongPasswordError):
        keystore.decrypt_bls(data, "testpassword")


def test_round_trips() -> None:
    assert keystore.decrypt_account(ACCOUNT, PASSWORD) == KEY
    assert keystore.account_address(ACCOUNT) == KEY.address
    assert keystore.decrypt_bls(VALIDATOR, PASSWORD) == SK
    for secret in (KEY.seed.hex(), SK.hex()):
        assert secret.encode() not in ACCOUNT + VALIDATOR
    again = keystore.encrypt_account(KEY, PASSWORD, scrypt_n=CHEAP)
    for field in ("salt", "nonce", "ciphertext"):
        assert found(ACCOUNT, field) != found(again, field)
    other = keystore.encrypt_bls(SK, PASSWORD, function="pbkdf2", pbkdf2_rounds=1000)
    assert keystore.decrypt_bls(other, PASSWORD) == SK
    assert json.loads(other)["crypto"]["kdf"]["params"].keys() == {"dklen", "c", "prf", "salt"}
    assert json.loads(VALIDATOR)["crypto"]["kdf"]["params"].keys() == {"dklen", "n", "r", "p", "salt"}


def found(data: bytes, name: str) -> Any:
    document = json.loads(data)
    return {**document["kdf"], **document["cipher"]}[name]


@pytest.mark.parametrize("password", ["", PASSWORD + " ", PASSWORD.upper(), "é" * 1000])
def test_a_wrong_password_is_said_to_be_one(password: str) -> None:
    with pytest.raises(WrongPasswordError, match=format_address(KEY.address)):
        keystore.decrypt_account(ACCOUNT, password)
    with pytest.raises(WrongPasswordError):
        keystore.decrypt_bls(VALIDATOR, password)


def test_any_change_of_an_account_keystore_is_found() -> None:
    other = SigningKey(bytes(32))
    for data in (
        changed(ACCOUNT, "address", format_address(other.address)),
        flipped(ACCOUNT, "kdf.salt"),
        flipped(ACCOUNT, "cipher.nonce"),
        flipped(ACCOUNT, "cipher.ciphertext"),
        changed(ACCOUNT, "kdf.n", 2 * CHEAP),
        changed(ACCOUNT, "kdf.p", 2),
    ):
        with pytest.raises(WrongPasswordError):
            keystore.decrypt_account(data, PASSWORD)


def test_any_change_of_a_bls_keystore_is_found() -> None:
    for path in ("kdf.params.salt", "checksum.message", "cipher.message"):
        with pytest.raises(WrongPasswordError):
            keystore.decrypt_bls(flipped(VALIDATOR, f"crypto.{path}"), PASSWORD)
    # The checksum does not cover the initialisation vector; the public key does.
    for path in ("crypto.cipher.params.iv", "pubkey"):
        with pytest.raises(KeyFormatError, match=r"another key than it says|BLS secret key"):
            keystore.decrypt_bls(flipped(VALIDATOR, path), PASSWORD)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "other"),
        ("version", 2),
        ("version", "1"),
        ("address", "omnit1qqqq"),
        ("address", None),
        ("kdf", None),
        ("kdf.function", "pbkdf2"),
        ("kdf.salt", "zz"),
        ("kdf.n", 2.5),
        ("kdf.n", "1024"),
        ("cipher.function", "aes-128-ctr"),
        ("cipher.nonce", "00"),
        ("cipher.ciphertext", "xyz"),
    ],
)
def test_malformed_account_keystores(path: str, value: Any) -> None:
    with pytest.raises(KeyFormatError) as caught:
        keystore.decrypt_account(changed(ACCOUNT, path, value), PASSWORD)
    assert not isinstance(caught.value, WrongPasswordError)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 3),
        ("crypto", None),
        ("crypto.kdf.function", "argon2"),
        ("crypto.kdf.params.dklen", 64),
        ("crypto.kdf.params.dklen", 16),
        ("crypto.kdf.params.salt", "0g"),
        ("crypto.kdf.params.n", None),
        ("crypto.checksum.function", "sha512"),
        ("crypto.checksum.message", "00"),
        ("crypto.cipher.function", "aes-256-gcm"),
        ("crypto.cipher.params.iv", "00"),
        ("crypto.cipher.message", "00" * 31),
    ],
)
def test_malformed_bls_keystores(path: str, value: Any) -> None:
    with pytest.raises(KeystoreError) as caught:
        keystore.decrypt_bls(changed(VALIDATOR, path, value), PASSWORD)
    assert not isinstance(caught.value, WrongPasswordError)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"a":' * 2_000,
        b" " * (limits.keystore_bytes_max + 1),
        ACCOUNT[:-10],
        ACCOUNT + b"{}",
    ],
    ids=range(10),  # of bytes that are made anew in each process, two of them would name different tests
)
def test_what_is_no_keystore(data: bytes) -> None:
    for use in (keystore.decrypt_account, keystore.decrypt_bls):
        with pytest.raises(KeystoreError, match="not an "):
            use(data, PASSWORD)
    with pytest.raises(KeystoreError):
        keystore.account_address(data)


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [
        (2**19, 8, 1),
        (2**40, 8, 1),
        (2**62, 2**30, 2**30),
        (2**18, 8, 3),
        (2**10, 2**20, 1),
        (2**10, 8, 2**20),
        (0, 8, 1),
        (1, 8, 1),
        (-(2**17), 8, 1),
        (1000, 8, 1),
        (2**10, 0, 1),
        (2**10, 8, -1),
    ],
)
def test_a_cost_that_is_too_high_is_not_paid(n: int, r: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def paid(*_: object, **__: object) -> None:
        pytest.fail("it derived a key at that cost")

    monkeypatch.setattr(keystore, "Scrypt", paid)
    salt = "00" * 32
    account = changed(ACCOUNT, "kdf", {"function": "scrypt", "n": n, "r": r, "p": p, "salt": salt})
    with pytest.raises(KeystoreError, match="scrypt of another cost"):
        keystore.decrypt_account(account, PASSWORD)
    validator = changed(VALIDATOR, "crypto.kdf.params", {"dklen": 32, "salt": salt, "n": n, "r": r, "p": p})
    with pytest.raises(KeystoreError, match="scrypt of another cost"):
        keystore.decrypt_bls(validator, PASSWORD)


@pytest.mark.parametrize("rounds", [0, -1, limits.keystore_pbkdf2_rounds_max + 1, 2**60])
def test_rounds_that_are_too_many_are_not_run(rounds: int) -> None:
    data = keystore.encrypt_bls(SK, PASSWORD, function="pbkdf2", pbkdf2_rounds=1)
    with pytest.raises(KeystoreError, match="PBKDF2 of another cost"):
        keystore.decrypt_bls(changed(data, "crypto.kdf.params.c", rounds), PASSWORD)
    with pytest.raises(KeystoreError, match="prf"):
        keystore.decrypt_bls(changed(data, "crypto.kdf.params.prf", "hmac-sha1"), PASSWORD)


def test_the_standards_own_cost_is_paid() -> None:
    """EIP-2335 keystores of other tools use scrypt with n = 2**18: the caps let them in."""
    assert limits.keystore_scrypt_memory_bytes_max >= 128 * 2**18 * 8
    assert limits.keystore_scrypt_work_max >= 2**18 * 8
    assert limits.keystore_pbkdf2_rounds_max >= 2**18
