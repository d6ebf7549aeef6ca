"""What stands in the tables of an export, made from rows of the ledger: by whoever exports, and again by whoever checks."""

from __future__ import annotations

from typing import Any

from omnitensor.protocol.codec import decode
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.reviews import decode_report
from omnitensor.protocol.rows import Campaign, Item, ItemStatus
from omnitensor.protocol.rows_review import Batch, Seat, batch_key, seat_key
from omnitensor.protocol.types import Address, BatchId, ItemId


def data_row(number: ItemId, item: Item, campaign: Campaign, column: str) -> dict[str, Any]:
    """An item's columns but for its bytes."""
    accepted = [change for change in item.history if change.status == ItemStatus.ACCEPTED][-1]
    return {
        "item": int(number),
        "media_type": item.media_type,
        "category": campaign.spec.categories[item.category].name,
        "complexity_bps": campaign.spec.tier_bps[item.tier],
        "contributor": format_address(item.contributor),
        "completeness": item.scores[0],
        "accuracy": item.scores[1],
        "relevance": item.scores[2],
        "overall": item.overall,
        "agreement_bps": item.agreement_bps,
        "batch": int(item.batch),
        "accepted_height": int(accepted.height),
        "accepted_at": int(accepted.timestamp_ms),
        "size": item.content.size,
        "sha256": item.content.sha256.hex(),
        "chunk_root": item.content.chunk_root.hex(),
    }


def reports_of(rows: dict[bytes, bytes], items: set[ItemId]) -> list[dict[str, Any]]:
    """Every revealed report of some items, from rows of batches and seats by key; in order of item, round, validator."""
    found = []
    for key in sorted(rows):
        if len(key) != len(batch_key(BatchId(0))):
            continue
        number, batch = BatchId(int.from_bytes(key[1:9], "big")), decode(Batch, rows[key])
        for address in batch.seats:
            seat = decode(Seat, rows[seat_key(number, batch.round, Address(address))])
            if not seat.report:
                continue
            scores = decode_report(seat.report, len(batch.items))
            found += [
                {
                    "item": int(item),
                    "batch": int(number),
                    "round": batch.round,
                    "validator": format_address(Address(address)),
                    "completeness": score.completeness,
                    "accuracy": score.accuracy,
                    "relevance": score.relevance,
                    "flags": score.flags,
                }
                for item, score in zip(batch.items, scores, strict=True)
                if item in items
            ]
    return sorted(found, key=lambda row: (row["item"], row["round"], row["validator"]))


def exact_text(data: bytes) -> str | None:
    """Text whose UTF-8 is exactly these bytes; None where there is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def extension_of(media_type: str) -> str:
    """What the name of a file ends with."""
    kind = media_type.partition("/")[2].partition(";")[0].rpartition("+")[2]
    known = {
        "plain": "txt",
        "jpeg": "jpg",
        "mpeg": "mp3",
        "x-wav": "wav",
        "quicktime": "mov",
        "x-matroska": "mkv",
    }
    name = known.get(kind, kind)
    return f".{name}" if name.isalnum() and len(name) <= 8 else ""
