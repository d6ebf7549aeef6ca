"""What an accepted item, settled for good, brings besides its pay: a place in its contributor's record, badges, a small reward.

The reward is bounded by the item's own pay, by what its reviewers may cost, by account and season, and in all; only accepted
items have one.
"""

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CampaignSpec
from omnitensor.protocol.seasons import Role
from omnitensor.protocol.types import Amount, ItemId
from state.ledger import badges, earnings, seasons, standings
from state.ledger.accounts import Pot, lifetime_sum, move, pot
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.pay import first_round
from state.ledger.view import View
from state.records_review import Item
from state.schema import CAREERS, SEASONS, STANDINGS


def settled(
    view: View, ctx: BlockContext, spec: CampaignSpec, number: ItemId, item: Item
) -> tuple[Event, ...]:
    """Counts an accepted item that can't be taken back any more, and rewards taking part."""
    account, board = item.contributor, standings.board_of(view, Role.CONTRIBUTOR)
    career = standings.career(view, account)
    career = replace(career, items=career.items + 1)
    standing = standings.standing(view, board, account)
    season = seasons.season_of(view, board.of)
    params = ctx.params
    amount = max(
        0,
        min(
            params.participation_reward,
            item.reward,
            first_round(spec, item.fee),
            params.participation_account_max - standing.participation,
            params.participation_pool - season.participation,
            pot(view, Pot.RESERVE),
        ),
    )
    standing = replace(
        standing, works=standing.works + 1, participation=Amount(standing.participation + amount)
    )
    view.put(STANDINGS, standing, *board, account)
    said = badges.for_items(view, ctx, account, career.items)
    if amount:
        move(view, Pot.RESERVE, account, amount)
        view.put(SEASONS, replace(season, participation=Amount(season.participation + amount)), board.of)
        career = replace(career, participation=lifetime_sum(career.participation, amount))
        earnings.record(view, ctx, account, earnings.PARTICIPATION, amount, item.campaign, item=number)
        said += (event("pay.participation", to=account, amount=amount, season=board.of, item=number),)
    view.put(CAREERS, career, account)
    return said
