"""What the state holds of seasons, leaderboards, badges and competitions. Data only; rows are named in ``schema``."""

from omnitensor.protocol.codec import Record
from omnitensor.protocol.rows_season import Badge as Badge
from omnitensor.protocol.rows_season import Career as Career
from omnitensor.protocol.rows_season import Competition as Competition
from omnitensor.protocol.rows_season import Season as Season
from omnitensor.protocol.rows_season import Standing as Standing
from omnitensor.protocol.types import U32, U64


class Payout(Record, frozen=True):
    """How far the payment of a season or of a campaign's competitions has come."""

    part: U64
    """The role of a season, one beyond the last for its badges; the competition of a campaign."""
    place: U32
    """The next place to pay, from 0."""
    after: bytes
    """The account looked at last; empty at the beginning."""
