"""Seasons: spans of epochs. At the end of one its pool leaves the reserve for those who scored; ``prizes`` pays it.

The season that runs has no end of its own: it closes at the first boundary by which it has lasted ``season_epochs``.
"""

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.epochs import is_boundary
from omnitensor.protocol.params import Params
from omnitensor.protocol.seasons import Role
from omnitensor.protocol.types import BPS, Amount, Epoch, Height
from state.ledger import prizes, standings
from state.ledger.accounts import Pot, move, pot
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.standings import SEASON_COUNTER, Board
from state.ledger.view import ReadView, View
from state.records import Counter
from state.records_season import Season
from state.schema import COUNTERS, SEASONS

FIRST_SEASON = Season(Epoch(0), Height(0), Height(0), (), 0, Amount(0), Amount(0))


def season_of(view: ReadView, number: int) -> Season:
    """A season that runs or is over."""
    return view.get(SEASONS, number) or FIRST_SEASON


def share_bps(params: Params, role: Role) -> int:
    """A role's share of a season's pool."""
    match role:
        case Role.CONTRIBUTOR:
            return params.season_contributors_bps
        case Role.VALIDATOR:
            return params.season_validators_bps
        case Role.WORKER:
            return params.season_workers_bps


def turn(view: View, ctx: BlockContext) -> tuple[Event, ...]:
    """At the end of a boundary block: closes the season, if it has lasted, and begins the next with the next epoch."""
    if not is_boundary(ctx.height, ctx.params):
        return ()
    number = standings.current_season(view)
    row = season_of(view, number)
    if ctx.epoch + 1 - row.first_epoch < ctx.params.season_epochs:
        return ()
    whole = min(ctx.params.season_pool, pot(view, Pot.RESERVE))
    pools = tuple(Amount(_pool(view, ctx.params, whole, role, number)) for role in Role)
    move(view, Pot.RESERVE, Pot.SEASONS, sum(pools))
    closed = replace(row, closed_at=ctx.height, pools=pools, places=ctx.params.season_places)
    view.put(SEASONS, closed, number)
    following = replace(FIRST_SEASON, first_epoch=Epoch(ctx.epoch + 1), opened_at=Height(ctx.height + 1))
    view.put(SEASONS, following, number + 1)
    view.put(COUNTERS, Counter(number + 1), SEASON_COUNTER)
    prizes.pay_season(view, ctx, number)
    return (event("season.closed", season=number, pool=sum(pools)),)


def _pool(view: ReadView, params: Params, whole: int, role: Role, number: int) -> int:
    """What a role gets of a season's pool: its share, or nothing where nobody scored."""
    if not standings.first(view, Board(role, number), 1):
        return 0
    return whole * share_bps(params, role) // BPS
