"""Wallets: a key on this machine and the account it signs for. Knows no node; secrets never leave the object.

A wallet holds the account's own key, or a session key (an ``api_key``) that the account let sign for it within scopes.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from omnitensor.protocol import keys, keystore
from omnitensor.protocol.codec import encode
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.limits import sealed_report_bytes_max
from omnitensor.protocol.private_files import read_private, write_private
from omnitensor.protocol.sealing import ReadingKey
from omnitensor.protocol.transactions import Transaction, signed
from omnitensor.protocol.types import Address, Hash, PublicKey, Signature
from omnitensor.sdk.errors import InputError

SEAL_INFO: Final = b"omnitensor/sealed-report/v1"
SALT_INFO: Final = b"omnitensor/report-salt/v1"
READING_INFO: Final = b"omnitensor/reading-key/v1"
ITEM_KEY_INFO: Final = b"omnitensor/item-key/v1"
OWN_INFO: Final = b"omnitensor/own-item-key/v1"
OWN_NONCE_INFO: Final = b"omnitensor/own-item-nonce/v1"
SEAL_NONCE_BYTES: Final = 12


class Wallet:
    """Signs for one account. `account` is None for an API key until a node has said whose it is."""

    def __init__(self, key: SigningKey, account: Address | None = None) -> None:
        self._key: Final = key
        self.account: Final = account

    @classmethod
    def generate(cls) -> Self:
        """A new account."""
        key = SigningKey.generate()
        return cls(key, key.address)

    @classmethod
    def from_secret(cls, text: str, passphrase: str = "") -> Self:
        """The wallet of a private key (64 hexadecimal digits, ``omsk1...``) or a mnemonic. Raises KeyFormatError."""
        key = keys.parse_secret(text, passphrase)
        return cls(key, key.address)

    @classmethod
    def from_api_key(cls, text: str) -> Self:
        """The wallet of a session key, ``otk1...``. Raises KeyFormatError."""
        return cls(keys.parse_api_key(text))

    @classmethod
    def from_keystore(cls, path: str | Path, password: str) -> Self:
        """The wallet in an encrypted keystore. Raises StorageError, KeystoreError or WrongPasswordError."""
        key = keystore.decrypt_account(read_private(Path(path)), password)
        return cls(key, key.address)

    def save(
        self, path: str | Path, password: str, *, replace: bool = False, scrypt_n: int = keystore.SCRYPT_N
    ) -> None:
        """Write an encrypted keystore, mode 0600."""
        write_private(
            Path(path), keystore.encrypt_account(self._key, password, scrypt_n=scrypt_n), replace=replace
        )

    def bound(self, account: Address) -> Wallet:
        """This key, signing for `account`."""
        return Wallet(self._key, account)

    @property
    def public(self) -> PublicKey:
        """The public key that signs."""
        return self._key.public

    @property
    def is_session(self) -> bool:
        """Whether the key is not the account's own."""
        return self.account != self._key.address

    @property
    def address(self) -> Address:
        """The account signed for, 33 bytes. Raises InputError for an API key that no node has been asked about."""
        if self.account is None:
            raise InputError(
                "an API key does not say whose it is",
                remedy="use it through a client, which asks the node for its account",
            )
        return self.account

    @property
    def text(self) -> str:
        """The account's address as text, ``omnit1...``."""
        return keys.format_address(self.address)

    def sign(self, transaction: Transaction) -> Transaction:
        """The transaction with this key's signature in place."""
        assert transaction.signer == self.public, "the transaction names another signer"
        return signed(transaction, self._key.sign(transaction.id))

    def sign_message(self, message: Hash) -> Signature:
        """The signature of a tagged hash of the protocol."""
        return self._key.sign(message)

    def report_salt(self, chain_id: str, batch: int, round_: int, report: bytes) -> Hash:
        """The salt of a report: derived, so that any device with the key can reveal it."""
        return Hash(self._derive(SALT_INFO, encode((chain_id, batch, round_, report))))

    def seal_report(self, chain_id: str, batch: int, round_: int, report: bytes) -> bytes:
        """The report under a key that only this wallet can derive: 12 bytes of nonce, then AES-256-GCM."""
        nonce = secrets.token_bytes(SEAL_NONCE_BYTES)
        place = encode((chain_id, batch, round_))
        sealed = nonce + AESGCM(self._derive(SEAL_INFO, place)).encrypt(nonce, report, place)
        assert len(sealed) <= sealed_report_bytes_max, "a report of the largest batch fits"
        return sealed

    def open_report(self, chain_id: str, batch: int, round_: int, sealed: bytes) -> bytes:
        """The report that this wallet sealed. Raises InputError for another's, or for damaged bytes."""
        place = encode((chain_id, batch, round_))
        try:
            return AESGCM(self._derive(SEAL_INFO, place)).decrypt(
                sealed[:SEAL_NONCE_BYTES], sealed[SEAL_NONCE_BYTES:], place
            )
        except (InvalidTag, ValueError) as error:
            raise InputError(
                f"the sealed report of batch {batch}, round {round_} was not sealed with this key",
                value=keys.format_address(self._key.address),
                remedy="reveal it with the key that committed it",
            ) from error

    def reading_key(self, chain_id: str) -> ReadingKey:
        """The key to which private items are wrapped for this wallet, as reviewer or sponsor; always the same on a chain."""
        return ReadingKey(self._derive(READING_INFO, encode((chain_id,))))

    def item_key(self, chain_id: str, campaign: int, digest: bytes) -> bytes:
        """The key of a private item of this wallet's: of one file (its SHA-256) in one campaign, always the same."""
        return self._derive(ITEM_KEY_INFO, encode((chain_id, campaign, digest)))

    def seal_item_key(self, chain_id: str, campaign: int, plain: Hash, key: bytes) -> bytes:
        """An item's key for this wallet alone, to lie on chain: 12 bytes of nonce, then AES-256-GCM. The same each time."""
        place = encode((chain_id, campaign, plain))
        nonce = self._derive(OWN_NONCE_INFO, place)[:SEAL_NONCE_BYTES]
        return nonce + AESGCM(self._derive(OWN_INFO, place)).encrypt(nonce, key, place)

    def open_item_key(self, chain_id: str, campaign: int, plain: Hash, sealed: bytes) -> bytes:
        """The key of an item that this wallet handed in. Raises InputError for another key's."""
        place = encode((chain_id, campaign, plain))
        try:
            return AESGCM(self._derive(OWN_INFO, place)).decrypt(
                sealed[:SEAL_NONCE_BYTES], sealed[SEAL_NONCE_BYTES:], place
            )
        except (InvalidTag, ValueError) as error:
            raise InputError(
                "the item was handed in with another signing key of this account",
                value=keys.format_address(self._key.address),
                remedy="give its key to seats with the key that handed it in, or let the sponsor do it",
            ) from error

    def _derive(self, info: bytes, context: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=context, info=info).derive(self._key.seed)

    def __repr__(self) -> str:
        whose = keys.format_address(self.account) if self.account is not None else "an account not looked up"
        return f"Wallet({whose}{', session key' if self.is_session else ''})"
