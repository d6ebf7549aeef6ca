"""What a sponsor writes to open a campaign: presets, a TOML file or parameters, checked and made into a CampaignSpec.

Knows text and numbers; asks no node. Amounts are written in OMNIT.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import CampaignSpec, Category
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.errors import CodecError
from omnitensor.protocol.limits import KIB, MIB
from omnitensor.protocol.types import BPS, Amount, Height
from omnitensor.protocol.work import CampaignModel
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.estimates import kinds_of
from omnitensor.sdk.models.campaigns import campaign_model
from omnitensor.sdk.spec_checks import AMOUNTS, Checker, Lines, SpecError, lines_of
from omnitensor.sdk.spec_checks import Path as Place

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
    model_file: str = ""
    """A model of integers that scores the items, made by ``model export --of-contents``; it is uploaded."""
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
    private: bool = False
    """Whether contributors encrypt their items, for the sponsor and the drawn reviewers alone."""
    reading_key: str = ""
    """Of a private campaign: the X25519 key that reads it, 64 hexadecimal digits; without one, the key of whoever opens it."""

    @property
    def budget_nano(self) -> Amount:
        return parse_omnit(self.budget)

    def spec(self, height: int) -> CampaignSpec:
        """The campaign's record, closing so many blocks above `height`. Raises SpecError naming each key that can't be."""
        checker = Checker("the campaign", presets=tuple(PRESETS))
        checker.fields(CampaignDraft, _plain(self))
        if not checker.faults:
            spec = self._record(
                height,
                file_content(Path(self.specification_file)) if self.specification_file else None,
                campaign_model(Path(self.model_file)) if self.model_file else None,
            )
            if self.private and self.model_file:
                reason = "a private campaign has no model: no worker can read its items"
                checker.add(("model_file",), reason, self.model_file, "leave one of the two out")
            check_whole(checker, spec, self.budget_nano)
            if self.private != bool(self.reading_key):
                reason = "a private campaign has a reading_key, and no other has"
                checker.add(("private",), reason, self.private, "write private = true; the key is then yours")
            if spec.closes_at <= height:
                reason = f"closes_at must be a height ahead; the chain is at {height}"
                checker.add(("closes_at",), reason, spec.closes_at, "write it like closes_in_blocks = 86400")
        if checker.faults:
            raise SpecError(checker.faults)
        try:
            return decode(CampaignSpec, encode(spec))
        except (CodecError, OverflowError) as error:
            raise InputError(
                f"the campaign is not valid: {error}",
                remedy="see docs/guides/sponsor.md for each field's bounds",
            ) from error

    def _record(
        self, height: int, specification: ContentId | None, model: CampaignModel | None = None
    ) -> CampaignSpec:
        first, second, agree = PRESETS[self.preset]
        return CampaignSpec(
            title=self.title,
            instructions=self.instructions,
            specification=specification,
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
            reading_key=bytes.fromhex(self.reading_key),
            model=model,
        )

    def read_by(self, key: bytes) -> CampaignDraft:
        """The same, to be read with a key where it is private and names none."""
        if not self.private or self.reading_key:
            return self
        return msgspec.structs.replace(self, reading_key=key.hex())


def check_whole(checker: Checker, spec: CampaignSpec, budget: int) -> None:
    """What no key is wrong in alone: fees that come to nothing, a budget below one item, too much text."""
    lowest = min(spec.tier_bps)
    if spec.review_fee * lowest < BPS:
        least = format_omnit(-(-BPS // lowest))
        checker.add(
            ("review_fee",),
            f"review_fee comes to nothing in the tier of {lowest} basis points",
            format_omnit(spec.review_fee),
            f"give {least} or more",
        )
    elif budget < (cheapest := min(kind.reserved for kind in kinds_of(spec, budget))):
        checker.add(
            ("budget",),
            f"one item alone reserves {format_omnit(cheapest)}",
            format_omnit(budget),
            "give a larger budget, or lower prices or seats",
        )
    if (size := len(encode(spec))) > limits.campaign_spec_bytes_max:
        checker.add(
            ("instructions",),
            f"all text together has more than the {limits.campaign_spec_bytes_max} bytes that a campaign may have",
            f"{size} bytes",
            "put the instructions into a specification_file",
        )


def draft_from_toml(path: str | Path) -> CampaignDraft:
    """The draft in a TOML file. Raises SpecError with every key that is wrong, by its line; InputError where it is no TOML."""
    fields, lines = fields_in_toml(path)
    return draft_from(fields, str(path), lines)


def fields_in_toml(path: str | Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """The values in a TOML file, and on which line each stands. Raises InputError naming file and line."""
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
        text = data.decode("utf-8")
        fields = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number that is too long to read
        raise InputError(
            f"the campaign's file is no TOML: {error}", value=path, remedy="mend that line"
        ) from error
    for name in ("specification_file", "model_file"):
        if isinstance(named := fields.get(name), str) and named:
            fields[name] = str(path.parent / named)
    return fields, lines_of(text)


def draft_from(
    fields: Mapping[str, Any], where: str = "parameters", lines: Lines | None = None
) -> CampaignDraft:
    """The draft in plain values; numbers may stand for amounts. Raises SpecError with every key that is wrong."""
    given = {name: value for name, value in fields.items() if value is not None}
    checker = Checker(where, lines, tuple(PRESETS))
    checker.fields(CampaignDraft, given)
    if checker.faults:
        raise SpecError(checker.faults)
    plain = {
        name: str(value) if name in AMOUNTS and isinstance(value, int | float) else value
        for name, value in given.items()
    }
    draft = msgspec.convert(plain, CampaignDraft)
    check_whole(checker, draft._record(0, None), draft.budget_nano)
    if checker.faults:
        raise SpecError(checker.faults)
    return draft


def template(preset: str = "standard") -> str:
    """A campaign's file to fill in, with every key and what a preset means. Raises InputError."""
    if preset not in PRESETS:
        raise InputError("no such preset", value=preset, remedy=f"choose {', '.join(PRESETS)}")
    first, second, agree = PRESETS[preset]
    return f"""\
title = "What is wanted, in a line"
instructions = \"""
What reviewers hold items against. Lines such as the next are checked by machine.
language: en
\"""
# specification_file = "longer.pdf"      # beside this file; reviewers can fetch it
# model_file = "spam.mlp"               # beside this file; scores items, of model export --of-contents
media = ["text/plain"]                  # or "image/*", "audio/wav" ...
licence = "CC-BY-4.0"                   # SPDX; contributors give their items under it

unit_price = "4"                        # OMNIT; the highest pay of an item at complexity and importance 1.0
review_fee = "0.5"                      # OMNIT; for one reviewer and one item
item_bond = "0.2"                       # OMNIT; what a contributor lays down for each item
budget = "1000"                         # OMNIT; paid in when it is opened, the unspent rest returns

preset = "{preset}"                     # {", ".join(PRESETS)}; this one is:
# first_seats = {first}                       # reviewers of an item
# second_seats = {second}                     # of one that is judged again
# agree_min_bps = {agree}                 # agreement below which it is judged again, in basis points
# audit_bps = 500                       # chance that it is judged again whatever the first round says
# tiers = {list(TIERS)}    # complexity, in basis points
# criterion_weights = [3000, 4000, 3000] # completeness, accuracy, relevance
# thresholds = [60, 60, 60]
# overall_threshold = 60
# contributor_share_max_bps = 10000     # largest share of the items that one contributor may have
# item_bytes_max = {64 * MIB}
# private = true                        # files are encrypted, for you and the drawn reviewers alone
# reading_key = ""                      # of a private campaign: another key that reads it than yours
closes_in_blocks = {CLOSES_IN_BLOCKS}                # or closes_at = HEIGHT

[[categories]]
name = "general"
importance = 1.0                        # multiplies the pay
target = 0                              # items wanted; 0 is no bound
"""


def _plain(draft: CampaignDraft) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(draft)
    return plain


def _or(given: int | None, default: int) -> int:
    return default if given is None else given
