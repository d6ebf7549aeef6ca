"""What a sponsor writes to open a campaign: presets, a TOML file or parameters, checked and made into a CampaignSpec.

Knows text and numbers; asks no node. Amounts are written in OMNIT.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import parse_omnit
from omnitensor.protocol.bodies import CampaignSpec, Category
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.limits import KIB, MIB
from omnitensor.protocol.types import BPS, Amount, Height
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import InputError

spec_file_bytes_max: Final = 64 * KIB
TIERS: Final = [5_000, 10_000, 15_000, 20_000, 25_000]
PRESETS: Final[dict[str, tuple[int, int, int]]] = {
    "economy": (3, 9, BPS),
    "standard": (5, 11, 7_000),
    "strict": (7, 15, 7_000),
}
"""Seats of round one, seats of round two, and the agreement that makes a verdict stand."""
CLOSES_IN_BLOCKS: Final = 86_400


class CategoryDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of data wanted: `importance` multiplies the pay (1 is normal), `target` bounds the number of items (0: none)."""

    name: str
    importance: float = 1.0
    target: int = 0


class CampaignDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A campaign as a sponsor writes it; amounts as text in OMNIT. The same names serve in a TOML file."""

    title: str
    unit_price: str
    review_fee: str
    budget: str
    instructions: str = ""
    specification_file: str = ""
    """A longer document; it is uploaded, and reviewers can fetch it."""
    media: list[str] = msgspec.field(default_factory=lambda: ["text/plain"])
    licence: str = "CC-BY-4.0"
    preset: str = "standard"
    item_bond: str = "0"
    tiers: list[int] = msgspec.field(default_factory=lambda: list(TIERS))
    categories: list[CategoryDraft] = msgspec.field(default_factory=lambda: [CategoryDraft("general")])
    criterion_weights: tuple[int, int, int] = (3_000, 4_000, 3_000)
    thresholds: tuple[int, int, int] = (60, 60, 60)
    overall_threshold: int = 60
    first_seats: int | None = None
    second_seats: int | None = None
    agree_min_bps: int | None = None
    audit_bps: int = 500
    """Chance that an item is judged a second time, whatever the first round says."""
    contributor_share_max_bps: int = BPS
    item_bytes_max: int = 64 * MIB
    closes_in_blocks: int = CLOSES_IN_BLOCKS
    closes_at: int | None = None

    @property
    def budget_nano(self) -> Amount:
        return parse_omnit(self.budget)

    def spec(self, height: int) -> CampaignSpec:
        """The campaign's record, closing so many blocks above `height`. Raises InputError naming the field."""
        if self.preset not in PRESETS:
            raise InputError("no such preset", value=self.preset, remedy=f"choose {', '.join(PRESETS)}")
        first, second, agree = PRESETS[self.preset]
        self._check()
        spec = CampaignSpec(
            title=self.title,
            instructions=self.instructions,
            specification=file_content(Path(self.specification_file)) if self.specification_file else None,
            media=tuple(media.strip().lower() for media in self.media),
            licence=self.licence,
            tier_bps=tuple(self.tiers),
            categories=tuple(
                Category(each.name, round(each.importance * BPS), each.target) for each in self.categories
            ),
            unit_price=parse_omnit(self.unit_price),
            review_fee=parse_omnit(self.review_fee),
            item_bond=parse_omnit(self.item_bond),
            criterion_weights=self.criterion_weights,
            thresholds=self.thresholds,
            overall_threshold=self.overall_threshold,
            first_seats=_or(self.first_seats, first),
            second_seats=_or(self.second_seats, second),
            agree_min_bps=_or(self.agree_min_bps, agree),
            contributor_share_max_bps=self.contributor_share_max_bps,
            item_bytes_max=self.item_bytes_max,
            closes_at=Height(_or(self.closes_at, height + self.closes_in_blocks)),
            audit_bps=self.audit_bps,
        )
        try:
            return decode(CampaignSpec, encode(spec))
        except (CodecError, OverflowError) as error:
            raise InputError(
                f"the campaign is not valid: {error}",
                remedy="see docs/guides/sponsor.md for each field's bounds",
            ) from error

    def _check(self) -> None:
        _require(bool(self.title.strip()), "a campaign needs a title", self.title)
        _require(
            len(self.instructions) <= limits.instructions_chars_max,
            f"the instructions have more than {limits.instructions_chars_max} characters",
            f"{len(self.instructions)}",
            "put the rest into a specification_file",
        )
        for media in self.media:
            kind, _, form = media.partition("/")
            _require(bool(kind and form), "not a media type", media, "write it like text/plain or image/*")
        _require(
            sum(self.criterion_weights) == BPS, f"criterion_weights must sum to {BPS}", self.criterion_weights
        )
        _require(
            all(0 <= each <= 100 for each in (*self.thresholds, self.overall_threshold)),
            "thresholds are 0 to 100",
            self.thresholds,
        )
        names = [category.name for category in self.categories]
        _require(len(set(names)) == len(names), "two categories have one name", names)


def draft_from_toml(path: str | Path) -> CampaignDraft:
    """The draft in a TOML file. Raises InputError naming the file, line or field."""
    path = Path(path)
    try:
        data = path.read_bytes()[: spec_file_bytes_max + 1]
    except OSError as error:
        raise InputError(
            f"the campaign's file can't be read ({error.strerror})", value=path, remedy="check its name"
        ) from error
    if len(data) > spec_file_bytes_max:
        raise InputError(
            "the campaign's file is too large", value=path, remedy=f"at most {spec_file_bytes_max} bytes"
        )
    try:
        fields = tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"the campaign's file is no TOML: {error}", value=path, remedy="mend that line"
        ) from error
    if isinstance(named := fields.get("specification_file"), str) and named:
        fields["specification_file"] = str(path.parent / named)
    return draft_from(fields, str(path))


def draft_from(fields: dict[str, Any], where: str = "parameters") -> CampaignDraft:
    """The draft in plain values; numbers may stand for amounts. Raises InputError naming the field."""
    plain = {
        name: str(value) if name in _AMOUNTS and isinstance(value, int | float) else value
        for name, value in fields.items()
        if value is not None
    }
    try:
        return msgspec.convert(plain, CampaignDraft)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the campaign in {where} is not valid: {error}",
            remedy="see docs/guides/sponsor.md for the fields",
        ) from error


_AMOUNTS: Final = ("unit_price", "review_fee", "budget", "item_bond")


def _or(given: int | None, default: int) -> int:
    return default if given is None else given


def _require(holds: bool, reason: str, value: object, remedy: str = "see docs/guides/sponsor.md") -> None:
    if not holds:
        raise InputError(reason, value=value, remedy=remedy)
