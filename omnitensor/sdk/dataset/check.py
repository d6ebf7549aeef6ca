"""Checks an exported data set without asking anybody: every byte of it, back to one final block.

From the manifest to every file; from the chain's proof to the block; from the block to each item, batch and seat; from these to
every row of the tables and every byte of data; from all of that to card and metadata, which are made anew and compared. What is
left to trust is one block, `height:hash`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from omnitensor.light import (
    Checkpoint,
    TrustedPoint,
    check_final,
    check_finality,
    check_header_chain,
    check_row,
)
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import decode
from omnitensor.protocol.content import ContentHasher, ContentId
from omnitensor.protocol.datasets import ACCEPTED, dataset_root, row_of
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import format_address, parse_address
from omnitensor.protocol.rows import Campaign, Item, ItemStatus, campaign_key, item_key, private_item_key
from omnitensor.protocol.rows_review import Batch, batch_key, seat_key
from omnitensor.protocol.state_proof import StateProof
from omnitensor.protocol.types import BatchId, Hash, ItemId
from omnitensor.protocol.votes import ValidatorTable
from omnitensor.sdk.dataset import bundle, describe, tables
from omnitensor.sdk.dataset.bundle import ChainProof, DatasetError, Manifest
from omnitensor.sdk.dataset.rows import data_row, reports_of

Watch = Callable[[str, int, int], None]
PIECE_BYTES: Final = limits.chunk_bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """A data set that holds, and what its block was compared with."""

    manifest: Manifest
    trusted: str


def check(
    folder: str | Path,
    *,
    checkpoint: Checkpoint | str | None = None,
    point: TrustedPoint | None = None,
    header: Header | None = None,
    period_ms: int | None = None,
    watch: Watch | None = None,
) -> Checked:
    """Checks the data set in a folder. Raises DatasetError or ProofError naming the first thing that does not hold.

    What to trust, one of: ``checkpoint``, the block that the export hangs on, or the last one of the epoch before; ``point``, a
    block that a light client verified; ``header``, the block of that height as a light client has it.
    """
    folder = Path(folder)
    manifest = bundle.read_manifest(folder)
    bundle.check_files(folder, manifest)
    chain = _chain_proof(folder)
    trusted = _trusted(chain, checkpoint, point, header, period_ms)
    campaign = _Checker(folder, manifest, chain, watch or (lambda what, done, whole: None)).run()
    _check_words(folder, manifest, campaign)
    return Checked(manifest, trusted)


def _chain_proof(folder: Path) -> ChainProof:
    try:
        chain = decode(ChainProof, (folder / bundle.CHAIN_PROOF).read_bytes())
        check_header_chain(chain.headers)
        table = ValidatorTable(chain.anchor.epoch, chain.voters)
    except (ProtocolError, OSError) as error:
        raise DatasetError(
            f"the proof of the chain does not hold: {error}", value=bundle.CHAIN_PROOF
        ) from error
    check_finality(chain.anchor, chain.proof, table)
    return chain


def _trusted(
    chain: ChainProof,
    checkpoint: Checkpoint | str | None,
    point: TrustedPoint | None,
    header: Header | None,
    period_ms: int | None,
) -> str:
    """What the last header was held against. Raises DatasetError where it is not what the caller trusts."""
    anchor = chain.anchor
    own = Checkpoint(anchor.height, anchor.hash)
    if header is not None:
        if header.hash != anchor.hash:
            raise DatasetError("the export hangs on another block than the chain has", value=own)
        return f"block {anchor.height}, as the chain has it"
    if checkpoint is not None:
        given = Checkpoint.parse(checkpoint) if isinstance(checkpoint, str) else checkpoint
        if given == own:
            return f"block {anchor.height}, as given"
        if given == Checkpoint(chain.boundary.height, chain.boundary.hash):
            point = TrustedPoint(chain.boundary, ValidatorTable(anchor.epoch, chain.voters))
        elif point is None:
            raise DatasetError(
                "the export hangs on another block than the one given",
                value=given,
                remedy=f"it hangs on {own}: compare that with a block that you trust",
            )
    if point is not None and point.epoch == anchor.epoch:
        limit = {} if period_ms is None else {"period_ms": period_ms}
        check_final(point, anchor, chain.proof, now_ms=time.time_ns() // 1_000_000, **limit)
        return f"the validators who follow block {point.height}"
    raise DatasetError(
        "nothing was given to hold the export against",
        value=own,
        remedy="compare this block with one that you trust, and give it: --checkpoint HEIGHT:HASH",
    )


class _Checker:
    """The part that compares tables with proven rows."""

    def __init__(self, folder: Path, manifest: Manifest, chain: ChainProof, watch: Watch) -> None:
        self._folder, self._manifest, self._chain, self._watch = folder, manifest, chain, watch
        self._headers = {header.height: header for header in chain.headers}

    def run(self) -> Campaign:
        """Everything but words; returns the campaign."""
        chain, manifest = self._chain, self._manifest
        campaign = self._campaign()
        items = self._items()
        root = dataset_root(row_of(number, item) for number, item in items.items())
        self._same("row_root", manifest.row_root, root.hex())
        self._same("rows", manifest.rows, len(items))
        self._same("chain_id", manifest.chain_id, chain.anchor.chain_id)
        self._same("height", manifest.height, int(chain.anchor.height))
        self._same("block", manifest.block, chain.anchor.hash.hex())
        self._same("campaign", manifest.campaign, int(chain.campaign))
        self._same("title", manifest.title, campaign.spec.title)
        self._same("licence", manifest.licence, campaign.spec.licence)
        self._same("sponsor", manifest.sponsor, format_address(campaign.sponsor))
        self._data(campaign, items)
        self._private(campaign, items)
        self._reports(items)
        return campaign

    def _same(self, name: str, said: object, found: object) -> None:
        if said != found:
            raise DatasetError(f"the manifest's {name} is not what the chain has", value=said)

    def _under(self, height: int, key: bytes, value: bytes, proof: StateProof) -> None:
        header = self._headers.get(height)  # type: ignore[call-overload] # heights are integers
        if header is None:
            raise DatasetError("a row is proven by a block that is not in the export", value=height)
        check_row(header, key, value, proof)

    def _campaign(self) -> Campaign:
        chain = self._chain
        self._under(
            chain.campaign_height, campaign_key(chain.campaign), chain.campaign_row, chain.campaign_proof
        )
        return decode(Campaign, chain.campaign_row)

    def _items(self) -> dict[ItemId, Item]:
        """The items as the ledger holds them, in order, each proven. Raises DatasetError, ProofError."""
        items: dict[ItemId, Item] = {}
        last = -1
        for row in tables.rows_in(self._folder / bundle.ITEM_PROOFS):
            number = ItemId(row["item"])
            self._under(row["height"], item_key(number), row["value"], _proof(row))
            item = decode(Item, row["value"])
            if number <= last or item.campaign != self._chain.campaign:
                raise DatasetError("an item is out of order, or of another campaign", value=number)
            settled = item.status == ItemStatus.PAID
            if item.status not in ACCEPTED or (self._manifest.settled_only and not settled):
                raise DatasetError("an item is here that was not accepted", value=number)
            items[number], last = item, number
        return items

    def _data(self, campaign: Campaign, items: dict[ItemId, Item]) -> None:
        """Every row of the data, with its bytes."""
        column = tables.column_for(
            {item.media_type for item in items.values()}, is_private=campaign.spec.reading_key != b""
        )
        shards = sorted((self._folder / bundle.DATA).iterdir())
        rows = (row for shard in shards for row in tables.rows_in(shard))
        used = set[str]()
        pairs = zip_longest(rows, items.items(), fillvalue=(None, None))
        for done, (row, (number, item)) in enumerate(pairs, 1):
            if row == (None, None) or number is None or item is None:
                raise DatasetError("the data have other items than the proofs")
            assert isinstance(row, dict)
            wanted = data_row(number, item, campaign, column)
            told = {name: row.get(name) for name in wanted}
            told["accepted_at"] = _milliseconds(told["accepted_at"])
            if told != wanted:
                raise DatasetError("a row of the data is not what the chain has", value=number)
            found, name = self._content(row, column)
            if found != item.content:
                raise DatasetError("the bytes of an item are not those that were judged", value=number)
            used |= {name} if name else set()
            self._watch("checking data", done, len(items))
        spare = {f"{bundle.FILES}/{path.name}" for path in (self._folder / bundle.FILES).iterdir()} - used
        if spare:
            raise DatasetError("a file belongs to no item", value=sorted(spare)[0])

    def _content(self, row: dict[str, Any], column: str) -> tuple[ContentId, str | None]:
        """The content id of a row's bytes, and the file that they are in."""
        if column == "text":
            data, name = row["text"], row["file"]
            data = None if data is None else data.encode()
        else:
            payload = row[column] or {}
            data = payload.get("bytes")
            name = payload.get("path") if data is None else None
        if data is not None and name is None:
            return _content_of(iter([data])), None
        if data is None and isinstance(name, str):
            return _content_of(_pieces(bundle.inside(self._folder, name))), name
        raise DatasetError("a row has no bytes", value=row["item"])

    def _private(self, campaign: Campaign, items: dict[ItemId, Item]) -> None:
        """Of a private campaign, what every item was declared with, in order; of another nothing."""
        path = self._folder / bundle.PRIVATE_PROOFS
        if (campaign.spec.reading_key != b"") != path.exists():
            raise DatasetError(
                "keys of items belong to the data sets of private campaigns, and to no others",
                value=bundle.PRIVATE_PROOFS,
                remedy="export again",
            )
        if not path.exists():
            return
        found = []
        for row in tables.rows_in(path):
            number = ItemId(row["item"])
            self._under(row["height"], private_item_key(number), row["value"], _proof(row))
            found.append(number)
        if found != list(items):
            raise DatasetError("the keys are not those of the items", value=bundle.PRIVATE_PROOFS)

    def _reports(self, items: dict[ItemId, Item]) -> None:
        """Every report, from batches and seats that are proven, and no other."""
        rows: dict[bytes, bytes] = {}
        for row in tables.rows_in(self._folder / bundle.SEAT_PROOFS):
            batch = BatchId(row["batch"])
            key = batch_key(batch)
            if row["validator"] is not None:
                key = seat_key(batch, row["round"], parse_address(row["validator"]))
            self._under(row["height"], key, row["value"], _proof(row))
            rows[key] = row["value"]
        wanted = {batch_key(BatchId(b)) for each in items.values() for b in (each.batch, each.second) if b}
        seats = {
            seat_key(BatchId(int.from_bytes(key[1:9], "big")), batch.round, seat)
            for key in sorted(wanted & rows.keys())
            for batch in [decode(Batch, rows[key])]
            for seat in batch.seats
        }
        if rows.keys() != wanted | seats:
            raise DatasetError("the proofs of reports are not those of the items' batches")
        found = list(tables.rows_in(self._folder / bundle.REPORTS))
        if found != reports_of(rows, set(items)):
            raise DatasetError("the reports are not those of the chain")
        self._same("reports", self._manifest.reports, len(found))


def _proof(row: dict[str, Any]) -> StateProof:
    return StateProof(row["page"], tuple(Hash(sibling) for sibling in row["siblings"]))


def _milliseconds(moment: Any) -> int | None:
    """A time as a table gives it, in milliseconds; exact, which a float would not be."""
    if moment is None:
        return None
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000 + int(moment.microsecond) // 1_000


def _content_of(pieces: Iterator[bytes]) -> ContentId:
    hasher = ContentHasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.finish()[0]


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _check_words(folder: Path, manifest: Manifest, campaign: Campaign) -> None:
    """Card and metadata say what follows from the rest, to the letter."""
    shard = sorted((folder / bundle.DATA).iterdir())[0]
    columns = list(tables.arrow("pyarrow.parquet").read_schema(shard).names)
    column = columns[1]
    card = describe.card(manifest, campaign, column)
    files = [entry for entry in manifest.files if entry.path != bundle.CROISSANT]
    for name, wanted in (
        (bundle.CARD, card),
        (bundle.CROISSANT, describe.croissant(manifest, campaign, columns, files)),
    ):
        if (folder / name).read_text(encoding="utf-8") != wanted:
            raise DatasetError("a description is not what follows from the data", value=name)
