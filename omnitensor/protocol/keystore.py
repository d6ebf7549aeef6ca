"""Encrypted keystores: an account's key (scrypt and AES-256-GCM, our own format) and a BLS key (EIP-2335).

Knows formats and files; asks nobody for a password and prints nothing. A keystore may come from a stranger: its
size and the cost of its key derivation are capped before any work is done, and what it claims (address, public
key) is checked against what it holds. Files are written whole or not at all, for their owner alone.
"""

from __future__ import annotations

import hmac
import os
import unicodedata
import uuid
from hashlib import sha256
from typing import Final, Literal, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from omnitensor.protocol import bls, limits
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.keys import SigningKey, format_address, parse_address
from omnitensor.protocol.types import Address

ACCOUNT_FORMAT: Final = "omnitensor-account"
SCRYPT_N: Final = 2**17
"""Default cost: 0.4 s and 128 MiB."""
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
PBKDF2_ROUNDS: Final = 2**18
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
IV_BYTES: Final = 16
DERIVED_BYTES: Final = 32

F = TypeVar("F")


class KeystoreError(KeyFormatError):
    """A text that is not a keystore, or one that asks for too much or contradicts itself."""

    code = "keystore"


class WrongPasswordError(KeystoreError):
    """A keystore that this password does not open."""

    code = "password"


class _AccountKdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: Literal["scrypt"]
    n: int
    r: int
    p: int
    salt: str


class _AccountCipher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    function: Literal["aes-256-gcm"]
    nonce: str
    ciphertext: str


class _AccountFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["omnitensor-account"]
    version: Literal[1]
    address: str
    kdf: _AccountKdf
    cipher: _AccountCipher

    def header(self) -> bytes:
        """What the ciphertext is bound to besides the password."""
        kdf = self.kdf
        return f"{self.format}/{self.version}/{self.address}/{kdf.n}/{kdf.r}/{kdf.p}/{kdf.salt}".encode()


class _KdfParams(msgspec.Struct, frozen=True, omit_defaults=True):
    dklen: int
    salt: str
    n: int = 0
    r: int = 0
    p: int = 0
    c: int = 0
    prf: str = ""


class _Kdf(msgspec.Struct, frozen=True):
    function: Literal["scrypt", "pbkdf2"]
    params: _KdfParams
    message: str


class _Checksum(msgspec.Struct, frozen=True):
    function: Literal["sha256"]
    message: str
    params: dict[str, str] = {}


class _CipherParams(msgspec.Struct, frozen=True):
    iv: str


class _Cipher(msgspec.Struct, frozen=True):
    function: Literal["aes-128-ctr"]
    params: _CipherParams
    message: str


class _Crypto(msgspec.Struct, frozen=True):
    kdf: _Kdf
    checksum: _Checksum
    cipher: _Cipher


class _BlsFile(msgspec.Struct, frozen=True):
    crypto: _Crypto
    path: str
    uuid: str
    version: Literal[4]
    description: str = ""
    pubkey: str = ""


# -- accounts


def encrypt_account(key: SigningKey, password: str, *, scrypt_n: int = SCRYPT_N) -> bytes:
    """The JSON of an account keystore. `scrypt_n` is a power of two; the default costs 0.4 s and 128 MiB."""
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    kdf = _AccountKdf("scrypt", scrypt_n, SCRYPT_R, SCRYPT_P, salt.hex())
    address = format_address(key.address)
    unsealed = _AccountFile(ACCOUNT_FORMAT, 1, address, kdf, _AccountCipher("aes-256-gcm", nonce.hex(), ""))
    sealing = AESGCM(_scrypt(password, salt, kdf.n, kdf.r, kdf.p))
    ciphertext = sealing.encrypt(nonce, key.seed, unsealed.header())
    cipher = _AccountCipher("aes-256-gcm", nonce.hex(), ciphertext.hex())
    return _to_json(_AccountFile(ACCOUNT_FORMAT, 1, address, kdf, cipher))


def decrypt_account(data: bytes, password: str) -> SigningKey:
    """The key of an account keystore. Raises WrongPasswordError or KeystoreError."""
    found = _parse(_AccountFile, data, "an account keystore")
    address = parse_address(found.address)
    nonce = _hex(found.cipher.nonce, NONCE_BYTES, "nonce")
    ciphertext = _hex(found.cipher.ciphertext, None, "ciphertext")
    derived = _scrypt(password, _hex(found.kdf.salt, None, "salt"), found.kdf.n, found.kdf.r, found.kdf.p)
    try:
        seed = AESGCM(derived).decrypt(nonce, ciphertext, found.header())
    except InvalidTag as error:
        raise _wrong_password(found.address) from error
    key = SigningKey(seed)
    if key.address != address:
        raise KeystoreError("the keystore holds another account's key than it says", value=found.address)
    return key


def account_address(data: bytes) -> Address:
    """The address that an account keystore says it holds, without its password. Raises KeystoreError."""
    return parse_address(_parse(_AccountFile, data, "an account keystore").address)


# -- BLS keys (EIP-2335)


def encrypt_bls(
    sk: bytes,
    password: str,
    *,
    function: Literal["scrypt", "pbkdf2"] = "scrypt",
    scrypt_n: int = SCRYPT_N,
    pbkdf2_rounds: int = PBKDF2_ROUNDS,
    description: str = "",
    path: str = "",
) -> bytes:
    """The JSON of an EIP-2335 keystore of a BLS secret key. Raises KeyFormatError where `sk` is no such key."""
    pubkey = bls.sk_to_pk(sk).hex()
    salt, iv = os.urandom(SALT_BYTES).hex(), os.urandom(IV_BYTES)
    if function == "scrypt":
        params = _KdfParams(DERIVED_BYTES, salt, n=scrypt_n, r=SCRYPT_R, p=SCRYPT_P)
    else:
        params = _KdfParams(DERIVED_BYTES, salt, c=pbkdf2_rounds, prf="hmac-sha256")
    kdf = _Kdf(function, params, "")
    derived = _derive_bls(kdf, password)
    message = _aes_ctr(derived[:16], iv, sk)
    checksum = _Checksum("sha256", sha256(derived[16:] + message).hexdigest())
    crypto = _Crypto(kdf, checksum, _Cipher("aes-128-ctr", _CipherParams(iv.hex()), message.hex()))
    return _to_json(_BlsFile(crypto, path, str(uuid.uuid4()), 4, description, pubkey))


def decrypt_bls(data: bytes, password: str) -> bytes:
    """The 32-byte BLS secret key of an EIP-2335 keystore. Raises WrongPasswordError, KeystoreError or KeyFormatError."""
    found = _parse(_BlsFile, data, "an EIP-2335 keystore")
    crypto = found.crypto
    message = _hex(crypto.cipher.message, bls.SECRET_KEY_BYTES, "cipher message")
    checksum = _hex(crypto.checksum.message, 32, "checksum")
    iv = _hex(crypto.cipher.params.iv, IV_BYTES, "iv")
    derived = _derive_bls(crypto.kdf, password)
    if not hmac.compare_digest(sha256(derived[16:] + message).digest(), checksum):
        raise _wrong_password(found.pubkey or found.uuid)
    sk = _aes_ctr(derived[:16], iv, message)
    if found.pubkey and bls.sk_to_pk(sk) != _hex(found.pubkey, bls.PUBLIC_KEY_BYTES, "pubkey"):
        raise KeystoreError("the keystore holds another key than it says", value=found.pubkey)
    return sk


def _derive_bls(kdf: _Kdf, password: str) -> bytes:
    params = kdf.params
    if params.dklen != DERIVED_BYTES:
        raise KeystoreError("the keystore's dklen is not 32", value=params.dklen, remedy=_MAKE_AGAIN)
    salt, password = _hex(params.salt, None, "salt"), _eip2335_password(password)
    if kdf.function == "scrypt":
        return _scrypt(password, salt, params.n, params.r, params.p)
    if params.prf != "hmac-sha256":
        raise KeystoreError("the keystore's prf is not hmac-sha256", value=params.prf, remedy=_MAKE_AGAIN)
    if not 0 < params.c <= limits.keystore_pbkdf2_rounds_max:
        raise KeystoreError(
            f"the keystore asks for PBKDF2 of another cost than 1 to {limits.keystore_pbkdf2_rounds_max} rounds",
            value=params.c,
            remedy=_MAKE_AGAIN,
        )
    return PBKDF2HMAC(hashes.SHA256(), DERIVED_BYTES, salt, params.c).derive(password.encode())


def _eip2335_password(password: str) -> str:
    """NFKD without control characters (C0, C1, Delete), as EIP-2335 has it."""
    decomposed = unicodedata.normalize("NFKD", password)
    return "".join(letter for letter in decomposed if not (ord(letter) < 0x20 or 0x7F <= ord(letter) < 0xA0))


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    stream = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return stream.update(data) + stream.finalize()


# -- both

_MAKE_AGAIN: Final = "make the keystore again with ordinary parameters"


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """32 bytes derived from a password. Raises KeystoreError before any work where the parameters cost too much."""
    sound = n > 1 and n & (n - 1) == 0 and r > 0 and p > 0
    memory_bytes, work = 128 * n * r, n * r * p
    if (
        not sound
        or memory_bytes > limits.keystore_scrypt_memory_bytes_max
        or work > limits.keystore_scrypt_work_max
    ):
        raise KeystoreError(
            "the keystore asks for scrypt of another cost than is taken: n a power of two, "
            f"128*n*r at most {limits.keystore_scrypt_memory_bytes_max} bytes, "
            f"n*r*p at most {limits.keystore_scrypt_work_max}",
            value=f"n={n} r={r} p={p}",
            remedy=_MAKE_AGAIN,
        )
    return Scrypt(salt=salt, length=DERIVED_BYTES, n=n, r=r, p=p).derive(password.encode())


def _parse(kind: type[F], data: bytes, what: str) -> F:
    if len(data) > limits.keystore_bytes_max:
        raise KeystoreError(
            f"not {what}: too large",
            value=f"{len(data)} bytes",
            remedy=f"a keystore has at most {limits.keystore_bytes_max} bytes",
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise KeystoreError(
            f"not {what}: {error}", remedy="give the keystore's file as it was written"
        ) from error


def _to_json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _hex(text: str, length: int | None, what: str) -> bytes:
    """The bytes of a field of hexadecimal digits, `length` of them where that is fixed."""
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise KeystoreError(f"the keystore's {what} is not hexadecimal", value=text) from error
    if length is not None and len(found) != length:
        raise KeystoreError(f"the keystore's {what} has not {length} bytes", value=text)
    return found


def _wrong_password(what: str) -> WrongPasswordError:
    return WrongPasswordError(
        "the password does not open the keystore", value=what, remedy="try again; check the keyboard's layout"
    )
