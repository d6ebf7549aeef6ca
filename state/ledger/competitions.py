"""Competitions: anybody puts up a pool for a campaign's contributors; when the campaign has ended, ``prizes`` splits it."""

from typing import Final

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import CompetitionOpen
from omnitensor.protocol.seasons import PrizeRule
from omnitensor.protocol.types import BPS, Address, Amount, Height
from state.ledger.accounts import Pot, move, next_number
from state.ledger.campaigns import campaign_of, check_open
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected
from state.ledger.events import event
from state.ledger.view import View
from state.records import UNIT
from state.records_season import Competition
from state.schema import COMPETITIONS, COMPETITIONS_BY_CAMPAIGN

COMPETITION_COUNTER: Final = b"competition"


def open_competition(
    view: View, ctx: BlockContext, sender: Address, body: CompetitionOpen
) -> tuple[Event, ...]:
    """Takes the pool in. It stays until the campaign has ended: nobody withdraws it, its sponsor neither."""
    check_open(body.campaign, campaign_of(view, body.campaign))
    if body.pool < ctx.params.competition_pool_min:
        raise Rejected(
            "competition_pool",
            f"a competition has a pool of {format_omnit(ctx.params.competition_pool_min)} at least",
            value=format_omnit(body.pool),
            remedy="put up more",
        )
    _check_rule(body)
    move(view, sender, Pot.COMPETITIONS, body.pool)
    number = next_number(view, COMPETITION_COUNTER, 1)
    row = Competition(
        sponsor=sender,
        campaign=body.campaign,
        pool=body.pool,
        rule=body.rule,
        shares_bps=body.shares_bps,
        opened_at=ctx.height,
        paid=Amount(0),
        returned=Amount(0),
        ended_at=Height(0),
    )
    view.put(COMPETITIONS, row, number)
    view.put(COMPETITIONS_BY_CAMPAIGN, UNIT, body.campaign, number)
    return (
        event(
            "competition.opened", competition=number, campaign=body.campaign, sponsor=sender, pool=body.pool
        ),
    )


def _check_rule(body: CompetitionOpen) -> None:
    """Raises Rejected where the shares do not go with the rule."""
    if body.rule == PrizeRule.PROPORTIONAL and not body.shares_bps:
        return
    if body.rule == PrizeRule.RANKS and sum(body.shares_bps) == BPS and all(body.shares_bps):
        return
    known = body.rule in (PrizeRule.PROPORTIONAL, PrizeRule.RANKS)
    raise Rejected(
        "competition_rule",
        "the shares do not go with the rule" if known else "there is no such rule",
        value=body.shares_bps if known else body.rule,
        remedy="rule 0 has no shares; rule 1 has one for each place, above zero, 10,000 in all",
    )
