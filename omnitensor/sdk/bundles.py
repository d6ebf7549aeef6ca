"""Which files make up a submission, and whether they may: all checks that cost nothing, before anything is paid.

Knows files and a campaign's wishes; sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol.amounts import whole_number
from omnitensor.protocol.bodies import ItemDeclaration, PrivateItem
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.limits import submission_items_max
from omnitensor.protocol.types import BPS
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import CampaignStateError, FileError, FundsError, InputError
from omnitensor.sdk.media import Facts, agrees, possible_types, sniff, type_matches
from omnitensor.sdk.results import Campaign, SpecInfo, bytes_of, hash_of, omnit

files_max: Final = 65_536
"""Files that one call takes; a folder of more is given in parts."""
SECOND_ROUND_RESERVE_BPS: Final = 4_000


class SealedText(msgspec.Struct, frozen=True):
    """What a private item is declared with, as hexadecimal text, and its plain file's SHA-256; its key is not among it."""

    plain_sha256: str
    plain: str
    sponsor: str
    own: str


class BundleItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file as it will be declared; hashes as hexadecimal text, so that it can lie on disk as JSON.

    Of a private item hashes and size are the encrypted bytes', and `path` is the plain file.
    """

    path: str
    sha256: str
    size: int
    chunk_root: str
    media_type: str
    tier: int
    category: int
    private: SealedText | None = None

    @property
    def content(self) -> ContentId:
        return ContentId(hash_of(self.sha256), self.size, hash_of(self.chunk_root))

    @property
    def declaration(self) -> ItemDeclaration:
        sealed = self.private
        private = (
            PrivateItem(hash_of(sealed.plain), bytes_of(sealed.sponsor), bytes_of(sealed.own))
            if sealed
            else None
        )
        return ItemDeclaration(self.content, self.media_type, self.tier, self.category, private)


def gather(paths: Iterable[str | Path]) -> list[Path]:
    """The files meant by paths: folders are walked, hidden files left out. Raises FileError naming the path."""
    found: list[Path] = []
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.is_file() and not _hidden(each, path))
            if not inside:
                raise FileError(
                    "the folder has no files", value=path, remedy="give a folder with files in it"
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            there = path.exists()
            raise FileError(
                "not a regular file" if there else "there is no such file",
                value=path,
                remedy="give the path of a file or a folder",
            )
        if len(found) > files_max:
            raise FileError("too many files at once", value=f"over {files_max}", remedy="give them in parts")
    if not found:
        raise FileError("no file was given", remedy="name one with --file")
    return found


def declare(
    path: Path,
    campaign: Campaign,
    *,
    tier: int,
    category: int,
    media_type: str | None = None,
    unread: Callable[[str], None] | None = None,
) -> BundleItem:
    """A file as an item of a campaign. Raises FileError where it is empty, too large, or of a type not taken.

    `unread` is told what this machine lacks to look into the file, where it lacks something.
    """
    spec = campaign.spec
    facts = sniff(path, media_type or "")
    if facts.unread and unread is not None:
        unread(facts.unread)
    if facts.size == 0:
        raise FileError("the file is empty", value=path, remedy="give a file with data in it")
    if facts.size > spec.item_bytes_max:
        raise FileError(
            f"the file has {facts.size} bytes, over the campaign's limit of {spec.item_bytes_max}",
            value=path,
            remedy="split or compress it",
        )
    if facts.fault:
        raise FileError(
            f"the file can't be read as data: {facts.fault}", value=path, remedy="give a sound file"
        )
    declared = _declared_type(path, spec, facts, media_type)
    content = file_content(path)
    if content.size != facts.size:
        raise FileError(
            "the file changed while it was read", value=path, remedy="leave it alone and try again"
        )
    return BundleItem(
        str(path.resolve()),
        content.sha256.hex(),
        content.size,
        content.chunk_root.hex(),
        declared,
        tier,
        category,
    )


def check_open(campaign: Campaign, height: int) -> None:
    """That a campaign takes submissions now. Raises CampaignStateError."""
    if campaign.status != "open":
        raise CampaignStateError(
            f"the campaign is {campaign.status} and takes no more data",
            value=campaign.campaign,
            remedy="choose an open one: otensor-cli campaign list --status open",
        )
    if height >= campaign.spec.closes_at:
        raise CampaignStateError(
            f"the campaign closed at height {campaign.spec.closes_at}",
            value=campaign.campaign,
            remedy="choose an open one: otensor-cli campaign list --status open",
        )


def check_budget(campaign: Campaign, items: Sequence[BundleItem]) -> None:
    """That the campaign can reserve the pay of all items. Raises FundsError."""
    needed = sum(reserve_of(campaign.spec, item.tier, item.category) for item in items)
    if campaign.escrow.available < needed:
        raise FundsError(
            f"campaign {campaign.campaign} has {omnit(campaign.escrow.available)} OMNIT left,"
            f" and {len(items)} items reserve {omnit(needed)}",
            value=campaign.campaign,
            remedy="submit fewer items, or ask the sponsor to fund it",
        )


def check_distinct(items: Sequence[BundleItem]) -> None:
    """That no two files are the same. Raises FileError naming both."""
    seen: dict[str, str] = {}
    for item in items:
        if item.chunk_root in seen:
            raise FileError(
                f"two files have the same bytes; the other is {seen[item.chunk_root]}",
                value=item.path,
                remedy="leave one of them out: a duplicate is rejected and costs its bond",
            )
        seen[item.chunk_root] = item.path


def reserve_of(spec: SpecInfo, tier: int, category: int) -> int:
    """nanoOMNIT that admitting an item sets aside: its highest pay, the first round, and a share of the second."""
    tier_bps = spec.tier_bps[tier]
    fee = spec.review_fee * tier_bps // BPS
    reward = spec.unit_price * tier_bps * spec.categories[category].importance_bps // BPS**2
    return reward + spec.first_seats * fee + spec.second_seats * fee * SECOND_ROUND_RESERVE_BPS // BPS


def choose_tier(spec: SpecInfo, given: int | None) -> int:
    """Index of a tier; without one, that of complexity 1.0, or the first. Raises InputError."""
    if given is None:
        return spec.tier_bps.index(BPS) if BPS in spec.tier_bps else 0
    if not 0 <= given < len(spec.tier_bps):
        listed = ", ".join(f"{index} ({tier / BPS:g}x)" for index, tier in enumerate(spec.tier_bps))
        raise InputError("the campaign has no such tier", value=given, remedy=f"it has {listed}")
    return given


def choose_category(spec: SpecInfo, given: str | int | None) -> int:
    """Index of a category by name or number; without one, the first. Raises InputError."""
    names = [category.name for category in spec.categories]
    if given is None:
        return 0
    if isinstance(given, str) and given in names:
        return names.index(given)
    number = whole_number(str(given))
    if number is not None and number < len(names):
        return number
    raise InputError("the campaign has no such category", value=given, remedy=f"it has {', '.join(names)}")


def split(items: Sequence[BundleItem]) -> list[list[BundleItem]]:
    """Items in bundles of at most the protocol's size."""
    return [
        list(items[start : start + submission_items_max])
        for start in range(0, len(items), submission_items_max)
    ]


def _declared_type(path: Path, spec: SpecInfo, facts: Facts, given: str | None) -> str:
    wanted, possible = ", ".join(spec.media), possible_types(facts)
    if given is not None:
        if not agrees(given, facts):
            raise FileError(
                f"declared as {given}, but its bytes are {facts.media_type or 'of no known kind'}",
                value=path,
                remedy="leave --media-type out, or give the right one",
            )
        possible = (given.lower(),)
    for media_type in possible:
        if any(type_matches(pattern, media_type) for pattern in spec.media):
            return media_type
    raise FileError(
        f"the campaign does not take {possible[0] if possible else 'files of this kind'}",
        value=path,
        remedy=f"it takes {wanted}",
    )


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
