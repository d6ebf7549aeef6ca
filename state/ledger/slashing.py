"""Slashing: the same share of everything that is at stake with a validator, its own and others', staying or leaving.

Who is slashed, why, and who gets what, is the callers' to say. Delegators are never visited: what is delegated shrinks under
their shares, and what is on its way back to them is worth less by the pool's scale.
"""

from msgspec.structs import replace

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import BPS, Address, Amount
from state.ledger import pools
from state.ledger.accounts import Pot, burn, move
from state.ledger.context import BlockContext
from state.ledger.view import View
from state.records import Unbonding
from state.schema import UNBONDING, UNBONDING_BY_VALIDATOR, VALIDATORS, number


def split(amount: int, params: Params) -> tuple[int, int, int]:
    """What of a slashed amount burns, what its reporter gets, and what goes to the reserve. They sum to it."""
    burned = amount * params.slash_burn_bps // BPS
    reward = (amount - burned) * params.reporter_share_bps // BPS
    return burned, reward, amount - burned - reward


def slash(
    view: View, ctx: BlockContext, address: Address, share_bps: int, *, spare_held: bool = False
) -> int:
    """Takes a share of stake, delegated stake, and all withdrawals that are not paid yet; nanoOMNIT taken.

    All of it is in the pot of stakes then, for the caller to move on. With ``spare_held`` the validator's own stake stays at
    what its open seats hold at least. What was redelegated away is cut when it is next looked at.
    """
    row = view.get(VALIDATORS, address)
    assert row is not None, "whoever is slashed is in the register"
    own = row.stake * share_bps // BPS
    if spare_held:
        own = max(0, min(own, row.stake - row.held))
    unbonding = _slash_withdrawals(view, address, share_bps)
    delegated = row.delegated * share_bps // BPS
    leaving = row.leaving * share_bps // BPS
    move(view, Pot.UNBONDING, Pot.STAKE, unbonding + leaving)
    row = replace(
        row,
        stake=Amount(row.stake - own),
        unbonding=Amount(row.unbonding - unbonding),
        delegated=Amount(row.delegated - delegated),
        leaving=Amount(row.leaving - leaving),
    )
    view.put(VALIDATORS, row, address)
    pools.shrink(view, address, share_bps)
    return own + unbonding + delegated + leaving


def _slash_withdrawals(view: View, address: Address, share_bps: int) -> int:
    """Takes the share of each of the validator's own withdrawals, which are few."""
    taken = 0
    for key, waiting in view.scan(UNBONDING_BY_VALIDATOR, address):
        due, index = (number(key[:8]), number(key[8:]))
        cut = waiting.amount * share_bps // BPS
        left = Unbonding(Amount(waiting.amount - cut))
        view.put(UNBONDING, left, due, address, index)
        view.put(UNBONDING_BY_VALIDATOR, left, address, due, index)
        taken += cut
    return taken


def forfeit(view: View, ctx: BlockContext, source: Pot, amount: int) -> None:
    """What a slash takes later than the slash itself: a part burns, the rest goes to the reserve; no reporter is left to pay."""
    burned, reward, rest = split(amount, ctx.params)
    burn(view, source, burned)
    move(view, source, Pot.RESERVE, reward + rest)
