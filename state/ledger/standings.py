"""Leaderboards: who earned how much by accepted work, in a season by role and in a campaign, in order. Moves no money.

A row by account, and one by value and account, so that the first of a board are read without sorting; both move together.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from msgspec.structs import replace

from omnitensor.protocol.seasons import CAMPAIGN_BOARD, Role
from omnitensor.protocol.types import U64_MAX, Address, Amount, CampaignId
from state.ledger.accounts import lifetime_sum
from state.ledger.view import ReadView, View
from state.records import UNIT
from state.records_season import Career, Standing
from state.schema import CAREERS, COUNTERS, LEADERBOARDS, STANDINGS, number

SEASON_COUNTER: Final = b"season"
NO_STANDING: Final = Standing(0, 0, 0, Amount(0))
NO_CAREER: Final = Career(0, 0, 0)


class Board(NamedTuple):
    """A leaderboard: that of a role in a season, or of a campaign."""

    kind: int
    of: int


class Placed(NamedTuple):
    """An account on a leaderboard."""

    account: Address
    value: int


def current_season(view: ReadView) -> int:
    """The number of the season that runs."""
    row = view.get(COUNTERS, SEASON_COUNTER)
    return row.next if row else 0


def board_of(view: ReadView, role: Role) -> Board:
    """A role's board in the season that runs."""
    return Board(role, current_season(view))


def campaign_board(campaign: CampaignId) -> Board:
    return Board(CAMPAIGN_BOARD, campaign)


def standing(view: ReadView, board: Board, account: Address) -> Standing:
    return view.get(STANDINGS, *board, account) or NO_STANDING


def career(view: ReadView, account: Address) -> Career:
    return view.get(CAREERS, account) or NO_CAREER


def contributed(view: View, account: Address, amount: int, scored: int, campaign: CampaignId) -> None:
    """Counts what an accepted item paid its contributor: ``scored`` of it for the season, and all for the campaign."""
    score(view, board_of(view, Role.CONTRIBUTOR), account, scored)
    score(view, campaign_board(campaign), account, amount)


def reviewed(view: View, account: Address, amount: int) -> None:
    """Counts what a report earned its validator."""
    score(view, board_of(view, Role.VALIDATOR), account, amount, works=1)


def missed(view: View, account: Address) -> None:
    """Counts a seat whose report did not come."""
    board = board_of(view, Role.VALIDATOR)
    row = standing(view, board, account)
    view.put(STANDINGS, replace(row, missed=row.missed + 1), *board, account)


def score(view: View, board: Board, account: Address, amount: int, *, works: int = 0) -> None:
    """Adds to an account's value on a board, and moves it there."""
    row = standing(view, board, account)
    value = lifetime_sum(row.value, amount)
    if row.value:
        view.delete(LEADERBOARDS, *board, _inverse(row.value), account)
    if value:
        view.put(LEADERBOARDS, UNIT, *board, _inverse(value), account)
    view.put(STANDINGS, replace(row, value=value, works=row.works + works), *board, account)


def first(view: ReadView, board: Board, count: int) -> list[Placed]:
    """The first of a board: the highest value first, of equal ones the lower address."""
    found: list[Placed] = []
    for placed in placed_from(view, board):
        if len(found) == count:
            break
        found.append(placed)
    return found


def placed_from(view: ReadView, board: Board, start: bytes = b"") -> Iterator[Placed]:
    """The accounts of a board in order; ``start`` is a rest of key to begin at."""
    for key, _ in view.scan(LEADERBOARDS, *board, start=start):
        yield Placed(Address(key[8:]), _inverse(number(key[:8])))


def place_key(placed: Placed) -> bytes:
    """Where an account stands on its board, as the rest of a key."""
    return _inverse(placed.value).to_bytes(8, "big") + placed.account


def _inverse(value: int) -> int:
    """So that keys in ascending order give values in descending order."""
    return U64_MAX - value
