"""Batches as reviewers get them, and their judgements: items with verified bytes on this disk, scores with reasons. Data only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image

from omnitensor.protocol.bodies import DuplicateOf
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.reviews import Flag, ItemScore, encode_report
from omnitensor.protocol.types import ItemId
from omnitensor.sdk.errors import FileError, InputError
from omnitensor.sdk.media import Facts, Seen, image_of, look
from omnitensor.sdk.results import CategoryInfo, ContentInfo, Nearest, SpecInfo

read_bytes_max: Final = 256 * MIB
"""What `DataItem.read_bytes` takes into memory unless told otherwise."""


class DataItem(msgspec.Struct, frozen=True):
    """One item to judge. `path` holds its bytes, checked against the chain; None where no node could serve them."""

    position: int
    item: int
    media_type: str
    content: ContentInfo
    contributor: str
    tier: int
    category: str
    instructions: str
    path: Path | None = None
    near: Nearest | None = None
    """An earlier item of the campaign that it nearly repeats, as the node found it; of a private one, of its batch."""
    plain_sha256: str = ""
    """Of a private item: what its plain file is, while `content` is the encrypted one's."""
    plain_size: int = 0
    fault: str = ""
    """Why its bytes are not there."""

    @property
    def size(self) -> int:
        return self.plain_size or self.content.size

    @property
    def sameness(self) -> str:
        """Two items with the same have the same bytes."""
        return self.plain_sha256 or self.content.chunk_root

    def read_bytes(self, bytes_max: int = read_bytes_max) -> bytes:
        """All bytes. Raises FileError when they are not available, or more than `bytes_max`."""
        if self.path is None:
            raise FileError(
                "the bytes of this item are not available", value=self.item, remedy="flag it unavailable"
            )
        if self.size > bytes_max:
            raise FileError(
                "the item is too large to read whole", value=f"{self.size} bytes", remedy="read its path"
            )
        return self.path.read_bytes()

    def text(self) -> str:
        """The bytes as UTF-8 text. Raises FileError where they are none."""
        try:
            return self.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise FileError(f"the item is not UTF-8 text ({error.reason})", value=self.item) from error

    def image(self) -> Image.Image:
        """The first frame of an image: plain pixels, decoded in a child process. Raises FileError where there is none."""
        if self.path is None:
            raise FileError("the bytes of this item are not available", value=self.item)
        return image_of(self.path)

    def facts(self) -> Facts:
        """Media type, size, dimensions, duration, and whatever else is found in the bytes by decoding them."""
        return self.look().facts

    def look(self, *, previews: bool = False) -> Seen:
        """The facts, what decoding measured, and with `previews` what there is to show."""
        if self.path is None:
            return Seen(Facts("", self.size, fault="the bytes are not available"))
        return look(self.path, self.media_type, previews=previews)


class DataBatch(msgspec.Struct, frozen=True):
    """What a reviewer was drawn to judge. Iterating gives the items in the order of the report."""

    batch: int
    round: int
    campaign: int
    title: str
    instructions: str
    spec: SpecInfo
    items: list[DataItem]
    folder: Path
    commit_until: int = 0
    """Height up to which the report can be committed."""
    reveal_until: int = 0
    fee: int = 0
    """nanoOMNIT that the whole batch can earn."""

    @property
    def task_id(self) -> str:
        return str(self.campaign)

    @property
    def categories(self) -> list[CategoryInfo]:
        return self.spec.categories

    def __iter__(self) -> Iterator[DataItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class Judgement(msgspec.Struct, frozen=True):
    """Scores of one item, 0..100 each, its flags, and why."""

    position: int
    item: int
    completeness: int
    accuracy: int
    relevance: int
    flags: int = 0
    reasons: tuple[str, ...] = ()
    duplicate_of: int | None = None
    """Which earlier item of the campaign it repeats: without that the flag of a duplicate counts for nothing."""

    @property
    def score(self) -> ItemScore:
        return ItemScore(self.completeness, self.accuracy, self.relevance, self.flags)

    @property
    def flag_names(self) -> list[str]:
        return [(flag.name or "").lower() for flag in Flag if self.flags & flag]


class ValidationResults(msgspec.Struct, frozen=True):
    """A judgement for each item of a batch, in its order: what `submit_results` takes. Change one with `with_scores`."""

    batch: int
    round: int
    campaign: int
    judgements: list[Judgement]

    def report(self) -> bytes:
        """The report's bytes. Raises ReportError for a score out of range."""
        return encode_report(tuple(judgement.score for judgement in self.judgements))

    def references(self) -> tuple[DuplicateOf, ...]:
        """What items flagged as duplicates repeat, in the batch's order, where that is known."""
        return tuple(
            DuplicateOf(judged.position, ItemId(judged.duplicate_of))
            for judged in sorted(self.judgements, key=lambda judged: judged.position)
            if judged.flags & Flag.DUPLICATE and judged.duplicate_of is not None
        )

    def with_scores(self, position: int, **changes: Any) -> ValidationResults:
        """A copy in which the item at `position` has other scores, flags or reasons. Raises InputError."""
        if not 0 <= position < len(self.judgements):
            raise InputError(
                "the batch has no such item",
                value=position,
                remedy=f"positions are 0 to {len(self.judgements) - 1}",
            )
        known = {"completeness", "accuracy", "relevance", "flags", "reasons", "duplicate_of"}
        if not set(changes) <= known:
            raise InputError(
                "not a field of a judgement", value=sorted(set(changes) - known), remedy=f"{sorted(known)}"
            )
        judgements = list(self.judgements)
        judgements[position] = msgspec.structs.replace(judgements[position], **changes)
        changed = msgspec.structs.replace(self, judgements=judgements)
        changed.report()
        return changed

    def __iter__(self) -> Iterator[Judgement]:
        return iter(self.judgements)

    def __len__(self) -> int:
        return len(self.judgements)
