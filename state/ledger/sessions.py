"""Session keys: an account lets another key sign orders of named scopes for it, up to a height.

No scope lets a session key send the account's money anywhere. What it spends are fees, tips and bonds, and all that it takes from
the account's balance comes off its allowance: whoever steals it can't make the balance lose more.
"""

from typing import Final

from msgspec.structs import replace

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import BodyBase, Scope, SessionKeyAdd, SessionKeyRemove
from omnitensor.protocol.keys import address_of
from omnitensor.protocol.limits import session_keys_per_account_max
from omnitensor.protocol.types import Address, Amount, Height, PublicKey
from state.ledger.context import BlockContext
from state.ledger.errors import Rejected, Unpayable
from state.ledger.events import event
from state.ledger.view import ReadView, View
from state.records import UNIT, SessionKey
from state.schema import SESSION_KEYS, SESSION_KEYS_BY_OWNER

ALLOWANCE_REMEDY: Final = (
    "make a new key (otensor-cli api-key create --allowance OMNIT), or sign with the account's own"
)


def add(view: View, ctx: BlockContext, sender: Address, body: SessionKeyAdd) -> tuple[Event, ...]:
    """Adds a key, or sets one's scopes, term and allowance anew. Expired keys of the account make room for new ones.

    A key serves one account for good: a script that still holds an expired or removed one finds its account by it, and would
    act for whoever could take it over.
    """
    if body.valid_until <= ctx.height:
        raise Rejected(
            "session_expired",
            "the session key would have expired already",
            value=body.valid_until,
            remedy=f"give a height above {ctx.height}",
        )
    if address_of(body.key) == sender:
        raise Rejected(
            "session_is_account",
            "this key is the account's own",
            value=body.key,
            remedy="make a new key for the session",
        )
    held = view.get(SESSION_KEYS, body.key)
    if held is not None and held.owner != sender:
        raise Rejected(
            "session_taken",
            "this key serves another account, or did",
            value=body.key,
            remedy="make a new key for the session",
        )
    if view.get(SESSION_KEYS_BY_OWNER, sender, body.key) is None:
        _make_room(view, ctx.height, sender)
    view.put(SESSION_KEYS, SessionKey(sender, body.scopes, body.valid_until, body.allowance), body.key)
    view.put(SESSION_KEYS_BY_OWNER, UNIT, sender, body.key)
    return (
        event(
            "session.added",
            owner=sender,
            key=body.key,
            scopes=body.scopes,
            valid_until=body.valid_until,
            allowance=body.allowance,
        ),
    )


def remove(view: View, ctx: BlockContext, sender: Address, body: SessionKeyRemove) -> tuple[Event, ...]:
    """Takes a key's power away, from the next transaction on. Scopes and last height stay, for ``could_sign``."""
    held = view.get(SESSION_KEYS, body.key)
    if held is None or view.get(SESSION_KEYS_BY_OWNER, sender, body.key) is None:
        raise Rejected(
            "session_unknown",
            "the account has no such session key",
            value=body.key,
            remedy="list the account's keys with: otensor-cli api-key list",
        )
    last = min(held.valid_until, Height(ctx.height - 1))
    view.put(SESSION_KEYS, SessionKey(sender, held.scopes, last, Amount(0)), body.key)
    view.delete(SESSION_KEYS_BY_OWNER, sender, body.key)
    return (event("session.removed", owner=sender, key=body.key),)


def check_session(view: ReadView, height: Height, sender: Address, signer: PublicKey, body: BodyBase) -> None:
    """Whether ``signer``, which is not the sender's own key, may order ``body`` for the sender. Raises Unpayable."""
    held = view.get(SESSION_KEYS, signer)
    if held is None or held.owner != sender:
        raise Unpayable(
            "signer",
            "the signer is neither the account's own key nor a session key of it",
            value=signer,
            remedy="sign with the account's key, or add a session key first",
        )
    if held.valid_until < height:
        raise Unpayable(
            "session_expired",
            f"the session key expired at height {held.valid_until}",
            value=signer,
            remedy="make a new one with: otensor-cli api-key create",
        )
    scope = body.SCOPE
    if scope is None or not held.scopes & scope:
        needed = "the account's own key" if scope is None else f"the scope {Scope(scope).name.lower()}"
        raise Unpayable(
            "session_scope", f"{body.KIND} needs {needed}", value=signer, remedy="sign with another key"
        )


def could_sign(view: ReadView, since: Height, sender: Address, signer: PublicKey, scope: Scope) -> bool:
    """Whether a session key of the sender held a scope at a height or later, even if it was removed meanwhile."""
    held = view.get(SESSION_KEYS, signer)
    return (
        held is not None and held.owner == sender and bool(held.scopes & scope) and held.valid_until >= since
    )


def check_session_tip(tip: int, fee: int) -> None:
    """A session key tips no more than its transaction burns: else whoever stole one, and leads a view, could tip itself all
    that the account has. Raises Unpayable."""
    if tip > fee:
        raise Unpayable(
            "session_tip",
            f"a session key tips no more than the fee, which is {format_omnit(fee)}",
            value=format_omnit(tip),
            remedy="tip less, or sign with the account's own key",
        )


def check_allowance(view: ReadView, key: PublicKey, offered: int) -> None:
    """Whether ``max_fee`` and tip are within what is left of a session key's allowance. Raises Unpayable."""
    left = _signing(view, key).allowance
    if offered > left:
        raise Unpayable(
            "session_allowance",
            f"the session key may spend {format_omnit(left)} more, less than max_fee and tip",
            value=format_omnit(offered),
            remedy=ALLOWANCE_REMEDY,
        )


def spend(view: View, key: PublicKey, amount: int) -> None:
    """Takes what an order took from its account's balance off the key's allowance. Raises Rejected where too little is left."""
    held = _signing(view, key)
    if amount > held.allowance:
        raise Rejected(
            "session_allowance",
            f"the session key may spend {format_omnit(held.allowance)} more",
            value=format_omnit(amount),
            remedy=ALLOWANCE_REMEDY,
        )
    view.put(SESSION_KEYS, replace(held, allowance=Amount(held.allowance - amount)), key)


def _signing(view: ReadView, key: PublicKey) -> SessionKey:
    held = view.get(SESSION_KEYS, key)
    assert held is not None, "whether the key may sign was checked before"
    return held


def _make_room(view: View, height: Height, owner: Address) -> None:
    """Removes the owner's expired keys; Rejected when it still has as many as an account may have."""
    living = 0
    for key, _ in view.scan(SESSION_KEYS_BY_OWNER, owner):
        held = view.get(SESSION_KEYS, key)
        if held is not None and held.valid_until >= height:
            living += 1
        else:
            view.delete(SESSION_KEYS_BY_OWNER, owner, key)
    if living >= session_keys_per_account_max:
        raise Rejected(
            "session_limit",
            "the account has as many session keys as it may have",
            value=living,
            remedy="remove one first",
        )
