"""Makes plain files of a private campaign's data set, for whoever holds the key that reads the campaign: its sponsor.

Asks no node: keys lie in the export as the ledger holds them, wrapped to the sponsor. Each file is held against what was declared
of it. What only a reader of plain bytes knows is written beside them: what each file is, and which nearly repeats an earlier one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from omnitensor import media
from omnitensor.protocol.bodies import PrivateItem
from omnitensor.protocol.codec import decode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.private_files import write_private
from omnitensor.protocol.rows import Campaign, Item
from omnitensor.sdk.dataset import bundle, tables
from omnitensor.sdk.dataset.bundle import ChainProof, DatasetError, Manifest
from omnitensor.sdk.dataset.rows import extension_of
from omnitensor.sdk.fingerprints import Nearest, fingerprint_of, near_duplicates
from omnitensor.sdk.private import key_for, open_checked
from omnitensor.sdk.results import ContentInfo
from omnitensor.sdk.results_private import PrivateItemInfo
from omnitensor.sdk.sealing import Plain
from omnitensor.sdk.wallet import Wallet

INDEX: Final = "items.jsonl"
NEAR: Final = "near-duplicates.json"
NEAR_BITS: Final = Params().near_duplicate_bits
"""What chains begin with; one may have agreed on another number since."""
Watch = Callable[[str, int, int], None]


class Decrypted(msgspec.Struct, frozen=True):
    """Plain files in a folder, one an item, how many bytes they have, and how many items nearly repeat an earlier one."""

    folder: Path
    items: int
    bytes: int
    near: int


class _Declared(NamedTuple):
    """What an item was declared with, and when: commitments are in order of their numbers."""

    info: PrivateItemInfo
    sequence: int


def decrypt(
    wallet: Wallet,
    folder: Path,
    target: Path,
    watch: Watch = lambda what, done, whole: None,
    *,
    near_bits: int = NEAR_BITS,
) -> Decrypted:
    """Decrypt every item of an exported data set into a new folder: files named by their items, and a line for each in a list.

    Files have mode 0600, the folder 0700; it has its name only when it is whole. Fingerprints that differ
    in ``near_bits`` or fewer are those of near duplicates. Blocking. Raises DatasetError, InputError, SealError.
    """
    manifest = bundle.read_manifest(folder)
    if target.exists():
        raise DatasetError("the folder is there already", value=target, remedy="name another, or remove it")
    building = target.with_name(target.name + ".partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(mode=0o700)
    try:
        found = _Maker(wallet, folder, building, manifest, watch).run(near_bits)
        os.replace(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return msgspec.structs.replace(found, folder=target)


class _Maker:
    """One folder of plain files in the making."""

    def __init__(
        self, wallet: Wallet, folder: Path, building: Path, manifest: Manifest, watch: Watch
    ) -> None:
        self._wallet, self._folder, self._building = wallet, folder, building
        self._manifest, self._watch = manifest, watch
        self._prints: list[tuple[int, int, bytes]] = []
        """Commitment's number, item, fingerprint."""

    def run(self, near_bits: int) -> Decrypted:
        declared, reading_key = self._declared()
        lines, total = list[bytes](), 0
        for row in self._rows():
            line, plain = self._plain_file(row, declared, reading_key)
            lines.append(line)
            total += plain.size
            self._watch("decrypting", len(lines), self._manifest.rows)
        write_private(self._building / INDEX, b"\n".join(lines) + b"\n")
        near = self._report_near(near_bits, len(lines))
        return Decrypted(self._building, len(lines), total, len(near))

    def _declared(self) -> tuple[dict[int, _Declared], str]:
        """What every item was declared with, by number, and the key to which the campaign's items are wrapped."""
        try:
            chain = decode(ChainProof, (self._folder / bundle.CHAIN_PROOF).read_bytes())
        except OSError as error:
            raise _spoiled(bundle.CHAIN_PROOF) from error
        reading_key = decode(Campaign, chain.campaign_row).spec.reading_key
        if not reading_key:
            raise DatasetError(
                "the data set is not of a private campaign", value=self._folder, remedy="it is plain already"
            )
        items = {
            row["item"]: decode(Item, row["value"])
            for row in tables.rows_in(self._folder / bundle.ITEM_PROOFS)
        }
        found = {}
        for row in tables.rows_in(self._folder / bundle.PRIVATE_PROOFS):
            item, private = items.get(row["item"]), decode(PrivateItem, row["value"])
            if item is None:
                raise _spoiled(bundle.PRIVATE_PROOFS)
            content = item.content
            info = PrivateItemInfo(
                row["item"],
                int(item.campaign),
                format_address(item.contributor),
                ContentInfo(content.sha256.hex(), content.size, content.chunk_root.hex()),
                private.plain.hex(),
                private.sponsor.hex(),
                private.own.hex(),
            )
            found[row["item"]] = _Declared(info, int(item.sequence))
        return found, reading_key.hex()

    def _rows(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self._folder / bundle.DATA).iterdir()):
            yield from tables.rows_in(path)

    def _plain_file(
        self, row: dict[str, Any], declared: dict[int, _Declared], reading_key: str
    ) -> tuple[bytes, Plain]:
        """Writes an item's plain file; its line of the list, and what the file is."""
        number, chain_id = row["item"], self._manifest.chain_id
        if number not in declared or "content" not in row:
            raise _spoiled(bundle.PRIVATE_PROOFS)
        info, sequence = declared[number]
        key = key_for(self._wallet, chain_id, info, reading_key)
        name = f"{number}{extension_of(row['media_type'])}"
        sealed, path = self._building / ".sealed", self._building / name
        _put(self._folder, row.pop("content"), sealed)
        plain = open_checked(sealed, path, key, info, chain_id)
        sealed.unlink()
        made = fingerprint_of(path)
        if made is not None:
            self._prints.append((sequence, number, made))
        told = row | {
            "accepted_at": row["accepted_at"].isoformat(),
            "file": name,
            "size": plain.size,
            "sha256": plain.digest.hex(),
            "facts": media.inspect(path, row["media_type"]),
        }
        return msgspec.json.encode(told), plain

    def _report_near(self, bits: int, rows: int) -> list[Nearest]:
        """Writes which items nearly repeat an earlier one."""
        prints = [(number, made) for _, number, made in sorted(self._prints)]
        self._watch("comparing", 0, 1)
        near = near_duplicates(prints, bits)
        self._watch("comparing", 1, 1)
        report = {
            "fingerprint": "fingerprint-v1",
            "bits_max": bits,
            "compared": len(prints),
            "not_compared": rows - len(prints),
            "near": [msgspec.to_builtins(each) for each in near],
        }
        write_private(self._building / NEAR, (json.dumps(report, indent=2) + "\n").encode())
        return near


def _spoiled(name: str) -> DatasetError:
    return DatasetError(
        "the data set is not whole: it does not say with which keys its items were declared",
        value=name,
        remedy="export it again, and check it: otensor-cli dataset verify",
    )


def _put(folder: Path, content: dict[str, Any], target: Path) -> None:
    """An item's encrypted bytes as a file."""
    if content["bytes"] is not None:
        target.write_bytes(content["bytes"])
    else:
        shutil.copyfile(bundle.inside(folder, content["path"]), target)
