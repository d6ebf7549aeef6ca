"""Makes plain files of a private campaign's data set, for whoever holds the key that reads the campaign: its sponsor.

Keys come from the chain, wrapped to the sponsor; a node that lies gives none. Each file is held against what was declared of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from omnitensor.protocol.private_files import write_private
from omnitensor.sdk.dataset import bundle, tables
from omnitensor.sdk.dataset.bundle import DatasetError
from omnitensor.sdk.dataset.rows import extension_of
from omnitensor.sdk.private import AsyncPrivate, open_checked

INDEX = "items.jsonl"
Watch = Callable[[str, int, int], None]


class Decrypted(msgspec.Struct, frozen=True):
    """Plain files in a folder, one an item, and how many bytes they have."""

    folder: Path
    items: int
    bytes: int


async def decrypt(
    reader: AsyncPrivate, folder: Path, target: Path, watch: Watch = lambda what, done, whole: None
) -> Decrypted:
    """Decrypt every item of an exported data set into a new folder: files named by their items, and a line for each in a list.

    Files have mode 0600, the folder 0700; it has its name only when it is whole. Raises DatasetError, InputError, SealError.
    """
    manifest = await asyncio.to_thread(bundle.read_manifest, folder)
    if await asyncio.to_thread(target.exists):
        raise DatasetError("the folder is there already", value=target, remedy="name another, or remove it")
    chain_id = await reader.client.chain_id()
    if chain_id != manifest.chain_id:
        raise DatasetError(
            f"the data set is of the chain {manifest.chain_id}, and the node is of {chain_id}",
            value=folder,
            remedy="ask a node of that chain: --endpoint",
        )
    building = target.with_name(target.name + ".partial")
    await asyncio.to_thread(_begin, building)
    try:
        found = await _plain_files(reader, folder, building, manifest.rows, chain_id, watch)
        await asyncio.to_thread(os.replace, building, target)
    finally:
        await asyncio.to_thread(shutil.rmtree, building, ignore_errors=True)
    return msgspec.structs.replace(found, folder=target)


async def _plain_files(
    reader: AsyncPrivate, folder: Path, building: Path, rows: int, chain_id: str, watch: Watch
) -> Decrypted:
    lines, total = list[bytes](), 0
    for row in _rows(folder):
        info = await reader.client.private_item(row["item"])
        key = await reader.key_of(info)
        name = f"{row['item']}{extension_of(row['media_type'])}"
        sealed = building / ".sealed"
        await asyncio.to_thread(_put, folder, row.pop("content"), sealed)
        plain = await asyncio.to_thread(open_checked, sealed, building / name, key, info, chain_id)
        await asyncio.to_thread(sealed.unlink)
        total += plain.size
        told = row | {"file": name, "size": plain.size, "sha256": plain.digest.hex()}
        lines.append(msgspec.json.encode(told | {"accepted_at": told["accepted_at"].isoformat()}))
        watch("decrypting", len(lines), rows)
    await asyncio.to_thread(write_private, building / INDEX, b"\n".join(lines) + b"\n")
    return Decrypted(building, len(lines), total)


def _begin(building: Path) -> None:
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / bundle.DATA).iterdir()):
        for row in tables.rows_in(path):
            if "content" not in row:
                raise DatasetError(
                    "the data set is not of a private campaign", value=folder, remedy="it is plain already"
                )
            yield row


def _put(folder: Path, content: dict[str, Any], target: Path) -> None:
    """An item's encrypted bytes as a file."""
    if content["bytes"] is not None:
        target.write_bytes(content["bytes"])
    else:
        shutil.copyfile(bundle.inside(folder, content["path"]), target)
