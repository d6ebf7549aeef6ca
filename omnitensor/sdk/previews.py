"""What a reviewer is shown of an item: its facts in words, and previews beside the batch's files. Judges nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from omnitensor.media import Facts, Seen, save_previews
from omnitensor.protocol.errors import StorageError
from omnitensor.sdk.batches import DataBatch, DataItem


class Preview(msgspec.Struct, frozen=True):
    """One item as it is shown: what a look gave, and the files that were written for it."""

    item: int
    position: int
    facts: Facts
    text: str
    """The beginning of a text or the head of a table; empty for other media."""
    files: tuple[Path, ...]

    @property
    def summary(self) -> str:
        return describe(self.facts)


def preview_item(item: DataItem, folder: Path) -> Preview:
    """Looks at an item and writes its previews into `folder`, named after it, readable for the owner alone.

    Raises StorageError where the disk refuses, FileError where the item's bytes can't be read. Takes as long as decoding.
    """
    seen = item.look(previews=True)
    return Preview(item.item, item.position, seen.facts, seen.text, _saved(seen, item, folder))


def preview_batch(batch: DataBatch) -> list[Preview]:
    """Previews of all items of a batch, beside their bytes. Raises likewise."""
    return [preview_item(item, batch.folder) for item in batch]


def describe(facts: Facts) -> str:
    """Facts in one line of words."""
    if facts.fault:
        return f"does not decode: {facts.fault}"
    parts = [facts.media_type]
    if facts.width:
        parts.append(f"{facts.width} x {facts.height}")
    if facts.frames > 1:
        parts.append(f"{facts.frames} frames")
    if facts.frame_rate_mhz:
        parts.append(f"{facts.frame_rate_mhz / 1_000:g} frames a second")
    if facts.duration_ms:
        parts.append(f"{facts.duration_ms / 1_000:.1f} s")
    if facts.codec and facts.codec != facts.media_type.partition("/")[2]:
        parts.append(facts.codec)
    if facts.channels:
        sound = f"{facts.channels} channel{'s' if facts.channels > 1 else ''} at {facts.sample_rate_hz} Hz"
        parts.append(f"sound {facts.audio_codec}, {sound}" if facts.audio_codec else sound)
    if facts.rows:
        parts.append(f"{facts.rows} rows, {facts.columns} columns")
    elif facts.characters:
        parts.append(f"{facts.characters} characters, {facts.words} words")
    if facts.language and facts.language != "und":
        parts.append(f"language {facts.language}")
    if facts.unread:
        parts.append(facts.unread)
    return ", ".join(parts)


def _saved(seen: Seen, item: DataItem, folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(save_previews(seen, folder, f"{item.item}-preview"))
    except OSError as error:
        raise StorageError(
            f"a preview can't be written ({error.strerror})", value=folder, remedy="make room on this disk"
        ) from error
