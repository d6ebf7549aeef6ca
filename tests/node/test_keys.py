"""A node's keys: made once, kept from others, never shown."""

import os
import stat
from pathlib import Path

import pytest

from node import keys
from omnitensor.protocol import bls
from omnitensor.protocol.errors import ProtocolError, StorageError


def test_keys_come_back_as_they_were_made(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "keys")
    loaded = keys.load(tmp_path / "keys")
    assert loaded.public() == made.public()
    assert bls.verify(made.consensus_public, b"m" * 32, loaded.sign(b"m" * 32))
    assert bls.pop_verify(made.consensus_public, made.public().proof_of_possession)


def test_key_files_are_their_owners_alone(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys")
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_existing_keys_are_never_overwritten(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "keys")
    with pytest.raises(keys.NodeKeyError, match="kept"):
        keys.create(tmp_path / "keys")
    assert keys.load(tmp_path / "keys").public() == made.public()


def test_a_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    keys.create(tmp_path / "keys")
    os.chmod(tmp_path / "keys" / keys.IDENTITY_SECRET, 0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        keys.load(tmp_path / "keys")


@pytest.mark.parametrize("name", [keys.CONSENSUS_KEYSTORE, keys.CONSENSUS_PASSWORD, keys.IDENTITY_SECRET])
@pytest.mark.parametrize("damage", ["missing", "garbage", "empty"])
def test_a_damaged_key_file_is_a_typed_error_without_secrets(tmp_path: Path, name: str, damage: str) -> None:
    made = keys.create(tmp_path / "keys")
    path = tmp_path / "keys" / name
    secret = path.read_text()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else b"\xff" + secret.encode()[1:])
    with pytest.raises(ProtocolError) as raised:
        keys.load(tmp_path / "keys")
    assert made.identity.seed.hex() not in str(raised.value)
    assert secret not in str(raised.value)


def test_a_secret_is_not_in_a_repr(tmp_path: Path) -> None:
    made = keys.create(tmp_path / "keys")
    password = (tmp_path / "keys" / keys.CONSENSUS_PASSWORD).read_text()
    assert made.identity.seed.hex() not in repr(made)
    assert password not in repr(made)
