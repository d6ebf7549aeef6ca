"""A node's keys: its BLS consensus key (an EIP-2335 keystore) and its Ed25519 identity among peers.

Never logs or returns a secret as text.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omnitensor.protocol import bls, keystore
from omnitensor.protocol.errors import KeyFormatError
from omnitensor.protocol.keys import SigningKey
from omnitensor.protocol.private_files import read_private, write_private
from omnitensor.protocol.types import BlsPublicKey, BlsSignature, PublicKey

CONSENSUS_KEYSTORE: Final = "consensus.json"
CONSENSUS_PASSWORD: Final = "consensus.password"
IDENTITY_SECRET: Final = "identity.secret"
NEVER_VOTED: Final = "never-voted"
"""Mark of a consensus key that has not signed anything yet; ``init`` takes it away when it makes the key's safety store."""

PASSWORD_BYTES: Final = 32
# The password is 256 random bits, so stretching adds nothing to it; it would cost every start half a second.
STRETCH_ROUNDS: Final = 2_000


class NodeKeyError(KeyFormatError):
    """A node's key file that is missing, unreadable or not its owner's alone."""

    code = "node_key"


@dataclass(frozen=True)
class PublicKeys:
    """What may be shown of a node's keys: enough to register a validator and to be dialled."""

    consensus: BlsPublicKey
    proof_of_possession: BlsSignature
    identity: PublicKey


class NodeKeys:
    """The secrets of a running node. Signs; shows only public keys."""

    def __init__(self, consensus_secret: bytes, identity: SigningKey) -> None:
        self._consensus = consensus_secret
        self.identity: Final = identity
        self.consensus_public: Final = bls.sk_to_pk(consensus_secret)

    def sign(self, message: bytes) -> BlsSignature:
        """BLS signature of a 32-byte message that is already bound to chain and purpose."""
        return bls.sign(self._consensus, message)

    def public(self) -> PublicKeys:
        return PublicKeys(self.consensus_public, bls.pop_prove(self._consensus), self.identity.public)

    def __repr__(self) -> str:
        return f"NodeKeys(consensus={self.consensus_public.hex()}, identity={self.identity.public.hex()})"


def create(folder: Path) -> NodeKeys:
    """New keys in ``folder`` (made 0700, files 0600). Raises NodeKeyError where keys exist: they are never overwritten."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(folder, 0o700)
    for name in (CONSENSUS_KEYSTORE, CONSENSUS_PASSWORD, IDENTITY_SECRET):
        if (folder / name).exists():
            raise NodeKeyError(
                "keys exist already",
                value=folder / name,
                remedy="they are kept; move the folder away for new ones",
            )
    secret = bls.keygen(os.urandom(PASSWORD_BYTES))
    password = os.urandom(PASSWORD_BYTES).hex()
    identity = SigningKey.generate()
    write_private(folder / CONSENSUS_PASSWORD, password.encode())
    write_private(
        folder / CONSENSUS_KEYSTORE,
        keystore.encrypt_bls(secret, password, function="pbkdf2", pbkdf2_rounds=STRETCH_ROUNDS),
    )
    write_private(folder / IDENTITY_SECRET, identity.seed.hex().encode())
    write_private(folder / NEVER_VOTED, b"")
    return NodeKeys(secret, identity)


def load(folder: Path) -> NodeKeys:
    """The keys in ``folder``. Raises NodeKeyError naming the file that is missing, damaged or readable by others."""
    password = read_private(folder / CONSENSUS_PASSWORD).decode("utf-8", "replace").strip()
    try:
        secret = keystore.decrypt_bls(read_private(folder / CONSENSUS_KEYSTORE), password)
    except KeyFormatError as error:
        raise NodeKeyError(
            f"the consensus key can't be opened: {error.reason}",
            value=folder / CONSENSUS_KEYSTORE,
            remedy=f"restore it and {CONSENSUS_PASSWORD} together from a copy: they were made as a pair",
        ) from error
    text = read_private(folder / IDENTITY_SECRET).decode("ascii", "replace").strip()
    try:
        identity = SigningKey(bytes.fromhex(text))
    except (ValueError, AssertionError, KeyFormatError) as error:
        raise NodeKeyError(
            "the identity file does not hold 64 hexadecimal digits",
            value=folder / IDENTITY_SECRET,
            remedy="restore it from a backup, or delete it and the peers' lists that name it and run init again",
        ) from error
    return NodeKeys(secret, identity)
