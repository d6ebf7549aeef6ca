"""What a node answers about private campaigns, as typed values; see ``results``. Data only."""

from __future__ import annotations

from omnitensor.sdk.results import ContentInfo, Cursor, Result


class ReadingKeyInfo(Result, frozen=True):
    """A validator's reading key; None where it has registered none."""

    key: str | None
    since: int | None = None


class PrivateItemInfo(Result, frozen=True):
    """What goes with an encrypted item: its plain commitment, and its key for the sponsor and for its contributor."""

    item: int
    campaign: int
    contributor: str
    content: ContentInfo
    plain: str
    sponsor: str
    own: str


class KeyGrantInfo(Result, frozen=True):
    """An item's key as a seat was given it."""

    item: int
    contributor: str | None = None
    sponsor: str | None = None


class SealedSeatInfo(Result, frozen=True):
    """A seat of a private batch, the reading key it was drawn with, and the keys it was given."""

    batch: int
    campaign: int
    validator: str
    key: str
    grant_until: int
    granted: int
    grants: list[KeyGrantInfo] = []


class WantedSeat(Result, frozen=True):
    """A seat that waits for keys which an account can give; `lacking` are those that nobody has given."""

    batch: int
    round: int
    campaign: int
    validator: str
    key: str
    drawn_at: int
    grant_until: int
    items: list[int]
    lacking: list[int]


class WantedPage(Result, frozen=True):
    seats: list[WantedSeat]
    next: Cursor = None
