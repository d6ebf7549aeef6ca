"""Ed25519 accounts: signing keys, addresses, and the text forms of both. Knows no account's state.

Every verification goes through libsodium (PyNaCl) and nothing else: libraries differ on corner-case
signatures, and the set that this one accepts is a rule of the chain. A secret never appears in a repr or in
an error.
"""

from __future__ import annotations

import os
import re
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mnemonic import Mnemonic
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError

from omnitensor.protocol import bech32m
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.types import (
    ACCOUNT_VERSION,
    ADDRESS_BYTES,
    MULTISIG_VERSION,
    VAULT_VERSION,
    Address,
    PublicKey,
    Signature,
)

ADDRESS_HRP: Final = "omnit"
SECRET_HRP: Final = "omsk"
API_KEY_HRP: Final = "otk"

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MNEMONIC_WORDS: Final = (12, 15, 18, 21, 24)
MNEMONIC_INFO: Final = b"omnitensor/account/ed25519/v1"
"""HKDF-SHA256's `info` (with an empty salt) from a BIP-39 seed of 64 bytes to an Ed25519 seed of 32."""

_VERSION_BYTE: Final = bytes([ACCOUNT_VERSION])


class SigningKey:
    """An account's or session's Ed25519 key. Frozen; holds the secret, and shows the address alone."""

    __slots__ = ("_expanded", "_public")

    def __init__(self, seed: bytes) -> None:
        """From the 32-byte seed of RFC 8032."""
        if len(seed) != SEED_BYTES:
            raise KeyFormatError(f"a secret key has {SEED_BYTES} bytes, not {len(seed)}")
        public, self._expanded = crypto_sign_seed_keypair(seed)
        self._public = PublicKey(public)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key from the operating system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes: for a keystore, never for a log."""
        return self._expanded[:SEED_BYTES]

    @property
    def public(self) -> PublicKey:
        """The public key, 32 bytes."""
        return self._public

    @property
    def address(self) -> Address:
        """The address of the account that this key owns, 33 bytes."""
        return address_of(self._public)

    def sign(self, message: bytes) -> Signature:
        """The 64-byte signature of `message`; deterministic (RFC 8032)."""
        return Signature(crypto_sign(message, self._expanded)[:SIGNATURE_BYTES])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self._expanded == other._expanded

    def __hash__(self) -> int:
        return hash(self._public)

    def __repr__(self) -> str:
        return f"SigningKey({format_address(self.address)})"


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `public`'s over `message`; False for anything malformed. Releases the GIL."""
    if len(public) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except CryptoError:
        return False
    return True


def address_of(public: PublicKey) -> Address:
    """The address of a public key: the version byte, then the key."""
    assert len(public) == PUBLIC_KEY_BYTES, f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public)}"
    return Address(_VERSION_BYTE + public)


def public_of(address: Address) -> PublicKey:
    """The public key in an address. Raises KeyFormatError where the version or length is unknown."""
    if len(address) != ADDRESS_BYTES or address[0] != ACCOUNT_VERSION:
        raise KeyFormatError(
            "not an address of this version",
            value=address,
            remedy=f"an address has {ADDRESS_BYTES} bytes, the first of them {ACCOUNT_VERSION}",
        )
    return PublicKey(address[1:])


def is_own_key(address: Address, public: PublicKey) -> bool:
    """Whether an account is the one of this key. No key is a multisignature account's own, whatever its hash comes to."""
    return address[0] == ACCOUNT_VERSION and address[1:] == public


def has_known_version(address: Address) -> bool:
    """Whether an address is of somebody who can order something: of a key, or of several keys together."""
    return address[0] in (ACCOUNT_VERSION, MULTISIG_VERSION)


def format_address(address: Address) -> str:
    """The text of an address: `omnit1...`."""
    return bech32m.encode(ADDRESS_HRP, address)


def shown_addresses(text: str) -> str:
    """A sentence of the chain's with the addresses in it as people write them: receipts hold them in hexadecimal."""

    def shown(found: re.Match[str]) -> str:
        payload = bytes.fromhex(found[0])
        return format_address(Address(payload)) if payload[0] <= VAULT_VERSION else found[0]

    return re.sub(rf"\b[0-9a-f]{{{2 * ADDRESS_BYTES}}}\b", shown, text)


def parse_address(text: str) -> Address:
    """The address that `text` names. Raises KeyFormatError naming the text, unless it looks like a secret."""
    try:
        _, payload = bech32m.decode(text.strip(), ADDRESS_HRP)
        if len(payload) != ADDRESS_BYTES or payload[0] > VAULT_VERSION:
            raise KeyFormatError(
                "of an unknown length or version",
                value=payload,
                remedy=f"an address has {ADDRESS_BYTES} bytes, the first of them {VAULT_VERSION} at most",
            )
    except KeyFormatError as error:
        shown = None if _looks_secret(text) else text
        raise KeyFormatError(
            f"not an address: {error.reason}", value=shown, remedy=_ADDRESS_REMEDY
        ) from error
    return Address(payload)


def format_secret(key: SigningKey) -> str:
    """The secret text of a key: `omsk1...`."""
    return bech32m.encode(SECRET_HRP, key.seed)


def parse_secret(text: str, passphrase: str = "") -> SigningKey:
    """The key of a secret text: 64 hexadecimal digits (with or without 0x), `omsk1...`, or a BIP-39 mnemonic.

    `passphrase` is BIP-39's, and goes with a mnemonic only. Raises KeyFormatError, which never repeats
    the secret.
    """
    text = text.strip()
    if len(words := text.split()) > 1:
        return _of_mnemonic(words, passphrase)
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    if len(digits) == 2 * SEED_BYTES and _is_hex(digits):
        return SigningKey(bytes.fromhex(digits))
    if text.lower().startswith(SECRET_HRP + "1"):
        return _of_bech32m(text, SECRET_HRP, "secret key")
    raise KeyFormatError(
        f"not a secret key: {len(text)} characters of no known form",
        remedy=f"give 64 hexadecimal digits, a text that begins with {SECRET_HRP}1, or 12 to 24 words",
    )


def format_api_key(key: SigningKey) -> str:
    """The secret text of a session key, as an SDK's `api_key`: `otk1...`."""
    return bech32m.encode(API_KEY_HRP, key.seed)


def parse_api_key(text: str) -> SigningKey:
    """The session key of an `api_key`. Raises KeyFormatError, which never repeats the secret."""
    text = text.strip()
    if not text.lower().startswith(API_KEY_HRP + "1"):
        raise KeyFormatError(
            f"not an API key: {len(text)} characters that do not begin with {API_KEY_HRP}1",
            remedy="make one with: otensor-cli api-key create",
        )
    return _of_bech32m(text, API_KEY_HRP, "API key")


def generate_mnemonic(words: int = 24) -> str:
    """A new BIP-39 mnemonic of 12, 15, 18, 21 or 24 English words, which `parse_secret` reads."""
    assert words in MNEMONIC_WORDS, f"a mnemonic has {MNEMONIC_WORDS} words, not {words}"
    return Mnemonic("english").generate(strength=words * 32 // 3)


_ADDRESS_REMEDY: Final = f"an address begins with {ADDRESS_HRP}1 and is copied in full"


def _of_bech32m(text: str, hrp: str, what: str) -> SigningKey:
    try:
        _, seed = bech32m.decode(text, hrp)
        return SigningKey(seed)
    except KeyFormatError as error:
        raise KeyFormatError(f"not a valid {what}: {error.reason}", remedy="copy it again in full") from None


def _of_mnemonic(words: list[str], passphrase: str) -> SigningKey:
    if len(words) not in MNEMONIC_WORDS:
        raise KeyFormatError(
            f"a mnemonic of {len(words)} words", remedy="give all of its 12, 15, 18, 21 or 24 words"
        )
    phrase, english = " ".join(words).lower(), Mnemonic("english")
    unknown = [place for place, word in enumerate(phrase.split(), 1) if word not in english.wordlist]
    if unknown:
        raise KeyFormatError(
            f"word {unknown[0]} of the mnemonic is not of the BIP-39 list",
            remedy="check its spelling",
        )
    if not english.check(phrase):
        raise KeyFormatError("the mnemonic's checksum does not agree", remedy="check the order of its words")
    seed = Mnemonic.to_seed(phrase, passphrase)
    return SigningKey(HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=b"", info=MNEMONIC_INFO).derive(seed))


def _looks_secret(text: str) -> bool:
    """Whether a text given for an address may be a key or mnemonic in the wrong place, not to be repeated."""
    text = text.strip().lower()
    return (
        text.startswith((SECRET_HRP, API_KEY_HRP))
        or len(text.split()) > 1
        or _is_hex(text.removeprefix("0x"))
    )


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdefABCDEF" for digit in text)
