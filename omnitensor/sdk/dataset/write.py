"""Writes the files of an export from bytes and proven rows. Blocking; asks no node."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.datasets import ACCEPTED, dataset_root, row_of
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.rows import Campaign, Item
from omnitensor.protocol.rows_review import batch_key
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import Address, BatchId, CampaignId, ItemId
from omnitensor.sdk.dataset import bundle, describe, tables
from omnitensor.sdk.dataset.bundle import ChainProof, DatasetError, Manifest
from omnitensor.sdk.dataset.rows import data_row, exact_text, extension_of, reports_of


@dataclasses.dataclass(frozen=True, slots=True)
class ProvenRow:
    """A row of the state as a node proved it after some block."""

    height: int
    value: bytes
    proof: StateProof


class Writer:
    """Writes the files of an export. Blocking; knows no node."""

    def __init__(self, folder: Path, settled_only: bool) -> None:
        self._folder: Final = folder
        self._settled_only: Final = settled_only
        self._number = CampaignId(0)
        self._is_private = False
        self._items: dict[ItemId, Item] = {}
        self._proofs: dict[ItemId, ProvenRow] = {}

    def begin(self, number: CampaignId, proofs: dict[ItemId, ProvenRow]) -> Writer:
        """Takes the items as they were proven."""
        self._number, self._proofs = number, proofs
        for item_id, row in proofs.items():
            item = decode(Item, row.value)
            if item.status not in ACCEPTED or item.campaign != number:
                raise DatasetError(
                    "an item changed while it was exported", value=item_id, remedy="export again"
                )
            self._items[item_id] = item
        return self

    def finish(
        self, chain: ChainProof, rows: dict[bytes, ProvenRow], private: dict[ItemId, ProvenRow]
    ) -> Manifest:
        """Writes everything, the manifest last. ``private``: what each item of a private campaign was declared with."""
        campaign = decode(Campaign, chain.campaign_row)
        self._is_private = campaign.spec.reading_key != b""
        if self._is_private != bool(private):
            raise DatasetError(
                "the node does not say whether the campaign is private as the chain does",
                value=int(self._number),
                remedy="ask another node",
            )
        column = tables.column_for(
            {item.media_type for item in self._items.values()}, is_private=self._is_private
        )
        self._write_data(campaign, column)
        reports = self._write_reports(rows)
        self._write_proofs(rows, private)
        (self._folder / bundle.CHAIN_PROOF).write_bytes(encode(chain))
        shutil.rmtree(self._folder / ".parts")
        manifest = Manifest(
            format=bundle.FORMAT,
            chain_id=chain.anchor.chain_id,
            campaign=int(self._number),
            title=campaign.spec.title,
            licence=campaign.spec.licence,
            sponsor=format_address(campaign.sponsor),
            rows=len(self._items),
            reports=reports,
            row_root=dataset_root(row_of(number, item) for number, item in self._items.items()).hex(),
            height=chain.anchor.height,
            block=chain.anchor.hash.hex(),
            settled_only=self._settled_only,
            files=[],
        )
        return write_descriptions(self._folder, manifest, campaign, column)

    def _write_data(self, campaign: Campaign, column: str) -> None:
        writer = tables.TableWriter(
            self._folder / bundle.DATA / "train.parquet", tables.data_schema(column), shards=True
        )
        for number, item in self._items.items():
            payload, size = self._payload(number, item, column)
            writer.add(data_row(number, item, campaign, column) | payload, size)
        writer.close()

    def _payload(self, number: ItemId, item: Item, column: str) -> tuple[dict[str, Any], int]:
        """The bytes in a row, or where they are."""
        source = self._folder / ".parts" / item.content.chunk_root.hex()
        ending = ".sealed" if self._is_private else extension_of(item.media_type)
        name = f"{bundle.FILES}/{number}{ending}"
        data = source.read_bytes() if item.content.size <= bundle.INLINE_BYTES_MAX else None
        if column == "text":
            text = None if data is None else exact_text(data)
            if text is not None:
                return {"text": text, "file": None}, len(text) + 256
            _take(source, self._folder / name)
            return {"text": None, "file": name}, 256
        if data is None:
            _take(source, self._folder / name)
            return {column: {"bytes": None, "path": name}}, 256
        return {column: {"bytes": data, "path": Path(name).name}}, len(data) + 256

    def _write_reports(self, rows: dict[bytes, ProvenRow]) -> int:
        writer = tables.TableWriter(self._folder / bundle.REPORTS, tables.report_schema())
        count = 0
        for each in reports_of({key: row.value for key, row in rows.items()}, set(self._items)):
            writer.add(each)
            count += 1
        writer.close()
        return count

    def _write_proofs(self, rows: dict[bytes, ProvenRow], private: dict[ItemId, ProvenRow]) -> None:
        self._write_items(bundle.ITEM_PROOFS, self._proofs)
        if private:
            self._write_items(bundle.PRIVATE_PROOFS, private)
        writer = tables.TableWriter(
            self._folder / bundle.SEAT_PROOFS, tables.proof_schema("batch", "round", "validator")
        )
        for key, row in sorted(rows.items()):
            writer.add(_names_of(key) | _proof_row(row), len(row.value) + len(row.proof.page) + 1_024)
        writer.close()

    def _write_items(self, name: str, rows: dict[ItemId, ProvenRow]) -> None:
        """A table of proven rows by item."""
        writer = tables.TableWriter(self._folder / name, tables.proof_schema("item"))
        for number, row in rows.items():
            writer.add({"item": int(number)} | _proof_row(row), len(row.value) + len(row.proof.page) + 1_024)
        writer.close()


def _take(source: Path, target: Path) -> None:
    """Puts a file of the parts where it belongs without writing its bytes again, where the disk can do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _proof_row(row: ProvenRow) -> dict[str, Any]:
    siblings = [bytes(sibling) for sibling in row.proof.siblings]
    return {"height": row.height, "value": row.value, "page": row.proof.page, "siblings": siblings}


def _names_of(key: bytes) -> dict[str, Any]:
    """Batch, round and validator of a row's key; a batch's own row has neither round nor validator."""
    batch = int.from_bytes(key[1:9], "big")
    if len(key) == len(batch_key(BatchId(0))):
        return {"batch": batch, "round": None, "validator": None}
    return {
        "batch": batch,
        "round": int.from_bytes(key[9:17], "big"),
        "validator": format_address(Address(key[17:])),
    }


def write_descriptions(folder: Path, manifest: Manifest, campaign: Campaign, column: str) -> Manifest:
    """Writes card, metadata and manifest over the files that are there; returns the manifest."""
    columns = list(tables.data_schema(column).names)
    (folder / bundle.CARD).write_text(describe.card(manifest, campaign, column), encoding="utf-8")
    entries = [bundle.entry_of(folder, name) for name in bundle.files_in(folder)]
    (folder / bundle.CROISSANT).write_text(
        describe.croissant(manifest, campaign, columns, entries), encoding="utf-8"
    )
    files = [bundle.entry_of(folder, name) for name in bundle.files_in(folder)]
    whole = msgspec.structs.replace(manifest, files=files)
    (folder / bundle.MANIFEST).write_bytes(whole.encoded())
    return whole
