"""How an exported data set lies in a folder: names, the manifest, and the records that prove it. Asks no node.

::

    manifest.json          what is here: campaign, block, root over the rows, hash of every file
    README.md              data set card
    croissant.json         Croissant metadata
    data/*.parquet         the accepted items, their bytes inline where they are small
    files/*                bytes of large items
    reports.parquet        what every reviewer said of every item
    proofs/chain           the final block that all hangs on, as a canonical record
    proofs/items.parquet   each item as the ledger holds it, and its path to a block
    proofs/seats.parquet   each reviewer's seat as the ledger holds it, likewise
    proofs/private.parquet of a private campaign, with what each item was declared: its key for the sponsor, likewise
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import Record
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import CampaignIdF, HeightF
from omnitensor.protocol.votes import FinalityProof, ValidatorEntry
from omnitensor.sdk.errors import SdkError

FORMAT: Final = "omnitensor-dataset-1"
MANIFEST: Final = "manifest.json"
CARD: Final = "README.md"
CROISSANT: Final = "croissant.json"
DATA: Final = "data"
FILES: Final = "files"
REPORTS: Final = "reports.parquet"
CHAIN_PROOF: Final = "proofs/chain"
ITEM_PROOFS: Final = "proofs/items.parquet"
SEAT_PROOFS: Final = "proofs/seats.parquet"
PRIVATE_PROOFS: Final = "proofs/private.parquet"
FOLDERS: Final = (DATA, FILES, "proofs")

INLINE_BYTES_MAX: Final = 16 * limits.MIB
"""Bytes of an item up to here lie in the tables; larger ones in a file each."""


class DatasetError(SdkError):
    """A folder that is no data set, or not the one that the chain has."""

    code = "dataset"


class ChainProof(Record, frozen=True):
    """The final block that an export hangs on, and the way to it from the blocks under whose roots the rows were proven."""

    campaign: CampaignIdF
    campaign_height: HeightF
    """Of the block after which the campaign was so."""
    campaign_row: bytes
    campaign_proof: StateProof
    headers: Annotated[tuple[Header, ...], Meta(min_length=1)]
    """One after another; the last is the block that everything hangs on."""
    proof: FinalityProof
    """Of the last header."""
    voters: Annotated[tuple[ValidatorEntry, ...], Meta(min_length=1, max_length=limits.validators_max)]
    """Of its epoch."""
    boundary: Header
    """The block below that epoch: whoever trusts it can trust the last header, too."""

    @property
    def anchor(self) -> Header:
        return self.headers[-1]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the folder."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an export is. Hashes as hexadecimal text."""

    format: str
    chain_id: str
    campaign: int
    title: str
    licence: str
    sponsor: str
    rows: int
    reports: int
    row_root: str
    height: int
    block: str
    settled_only: bool
    files: list[FileEntry]

    @property
    def checkpoint(self) -> str:
        """The block that all hangs on."""
        return f"{self.height}:{self.block}"

    def encoded(self) -> bytes:
        """The one text of it."""
        plain = msgspec.to_builtins(self)
        return (json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises DatasetError where it is none, or not written as an export writes it."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"the folder has no readable {MANIFEST} ({error.strerror})",
            value=folder,
            remedy="give the folder that otensor-cli dataset export wrote",
        ) from error
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise DatasetError(f"the manifest can't be read: {error}", value=path) from error
    if manifest.format != FORMAT or manifest.encoded() != data:
        raise DatasetError("the manifest is not as an export writes it", value=path)
    return manifest


def files_in(folder: Path) -> Iterator[str]:
    """Every file of the folder but the manifest, by its path in it, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DatasetError("the folder holds something that is neither a file nor a folder", value=path)
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            if name != MANIFEST:
                yield name


def entry_of(folder: Path, name: str) -> FileEntry:
    """A file's entry in the manifest; it is read once, in pieces."""
    path = folder / name
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(name, path.stat().st_size, digest)


def check_files(folder: Path, manifest: Manifest) -> None:
    """That the folder holds the manifest's files, whole, and no others. Raises DatasetError naming the first that differs."""
    listed = {entry.path: entry for entry in manifest.files}
    found = list(files_in(folder))
    if list(listed) != sorted(listed) or len(listed) != len(manifest.files):
        raise DatasetError("the manifest's files are not in order, each once")
    for name in sorted({*listed, *found}):
        if name not in listed:
            raise DatasetError("a file is here that the manifest does not list", value=name)
        if name not in found:
            raise DatasetError("a file of the manifest is missing", value=name, remedy="export again")
        if entry_of(folder, name) != listed[name]:
            raise DatasetError("a file is not what was exported", value=name, remedy="export again")


def inside(folder: Path, name: str) -> Path:
    """The path of a file named in a table. Raises DatasetError where it would lead out of the folder of files."""
    parts = PurePosixPath(name).parts
    if len(parts) != 2 or parts[0] != FILES or parts[1] in (".", ".."):
        raise DatasetError("a row names a file that is not in the export's folder of files", value=name)
    return folder / name
