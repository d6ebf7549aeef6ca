"""What an operator does with a stopped validator's safety store: begin again after a loss, export, import. One folder at a time.

Takes the store's lock, so it refuses while a node runs. Never makes a record that would let a key vote twice.
"""

import time
from pathlib import Path
from typing import Final

from node import config as configuration
from node import keys as node_keys
from node.safety_files import DiskFiles
from node.safety_record import from_text, to_text
from node.safety_store import FILE_NAME, SafetyStore
from omnitensor.protocol import limits
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.types import BlsPublicKey, TimeMs
from state.genesis import Genesis

CLOCK_MARGIN_MS: Final = 60_000
"""How far this machine's clock may be behind those of the chain, when a lost record is begun anew."""


def begin_again(home: Path) -> str:
    """R9: a new record for a key whose old one is lost. It signs in the first epoch that begins after now."""
    config, chain_id, key = _identity(home)
    until_ms = TimeMs(time.time_ns() // 1_000_000 + CLOCK_MARGIN_MS)
    SafetyStore.create(DiskFiles(config.safety_path), chain_id, key, lost_ms=until_ms).close()
    return (
        f"made {config.safety_path}: this validator signs nothing until an epoch begins that is new a minute from now.\n"
        "If the same key still votes anywhere else, stop it there: two processes with one key are slashed"
    )


def export_to(home: Path, out: Path) -> str:
    """Writes the record into a new file, for its owner alone."""
    if out.exists():
        raise StorageError("there is a file already", value=out, remedy="choose another name")
    config, chain_id, key = _identity(home)
    store = SafetyStore.open(DiskFiles(config.safety_path), chain_id, key)
    try:
        record = store.exported()
    finally:
        store.close()
    write_private(out, to_text(record).encode())
    return f"wrote {out}: epoch {record.epoch}, {len(record.votes)} votes. Do not start this validator here again"


def import_from(home: Path, source: Path) -> str:
    """Takes over a record, into the folder's own where there is one. Raises SafetyError where it knows less."""
    config, chain_id, key = _identity(home)
    try:
        with source.open("rb") as file:
            record = from_text(file.read(limits.safety_record_bytes_max + 1))
    except OSError as error:
        raise StorageError(f"can't be read ({error.strerror})", value=source) from error
    if (record.chain_id, record.consensus_key) != (chain_id, key):
        raise StorageError(
            "the record is of another chain or validator key",
            value=f"{record.chain_id}, key {record.consensus_key.hex()[:16]}…",
            remedy="copy the validator's keys here first",
        )
    files = DiskFiles(config.safety_path)
    if (config.safety_path / FILE_NAME).exists():
        store = SafetyStore.open(files, chain_id, key)
    else:
        store = SafetyStore.create(files, chain_id, key)
    try:
        store.adopt(record)
    finally:
        store.close()
    return f"took over epoch {record.epoch} with {len(record.votes)} votes"


def _identity(home: Path) -> tuple[configuration.Config, str, BlsPublicKey]:
    config = configuration.load(home, configuration.Sources())
    return (
        config,
        Genesis.load(config.genesis_path).chain_id,
        node_keys.load(config.keys_path).consensus_public,
    )
