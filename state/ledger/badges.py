"""Badges: distinctions that accounts are given once, by exact rules. Moves no money."""

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.seasons import ITEMS_FOR_BADGE, BadgeKind
from omnitensor.protocol.types import Address
from state.ledger.context import BlockContext
from state.ledger.events import event
from state.ledger.view import View
from state.records_season import Badge
from state.schema import BADGES


def give(
    view: View, ctx: BlockContext, account: Address, kind: BadgeKind, of: int = 0, rank: int = 0
) -> tuple[Event, ...]:
    """Gives a badge, unless the account has it; ``of`` is the season or competition that it is for."""
    if view.get(BADGES, account, kind, of) is not None:
        return ()
    view.put(BADGES, Badge(ctx.height, rank), account, kind, of)
    return (event("badge.given", account=account, badge=kind.label, of=of, rank=rank),)


def for_items(view: View, ctx: BlockContext, account: Address, items: int) -> tuple[Event, ...]:
    """What an account's number of accepted items is worth."""
    kind = ITEMS_FOR_BADGE.get(items)
    return () if kind is None else give(view, ctx, account, kind)
