"""Session keys, after docs/specification/ledger.md. Part of the model; shares no code with the ledger."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Unpayable, refuse_if
from tests.model.money import SCOPES


class Sessions(Ground):
    """Which key serves which account, for what and until when."""

    def open(self) -> None:
        self.sessions = self.table()
        """Every key that ever was one: its account, scopes, last height, and what it may still spend."""
        self.listed = self.table()
        """The keys of an account that were neither removed nor dropped to make room."""

    def check_signer(self, sender: bytes, signer: bytes, kind: str) -> None:
        if sender == b"\0" + signer:
            return
        owner, scopes, until, _ = self.sessions.get(signer, (b"", 0, 0, 0))
        if owner != sender:
            raise Unpayable("signer")
        if until < self.height:
            raise Unpayable("session_expired")
        if not scopes & SCOPES.get(kind, 0):
            raise Unpayable("session_scope")

    def spend_as(self, sender: bytes, signer: bytes, amount: int) -> None:
        """What a session key takes from the sender's balance comes off its allowance."""
        if sender != b"\0" + signer:
            *row, left = self.sessions[signer]
            refuse_if(amount > left, "session_allowance")
            self.sessions[signer] = (*row, left - amount)

    def session_key_add(self, sender: bytes, body: Any) -> None:
        refuse_if(body.valid_until <= self.height, "session_expired")
        refuse_if(b"\0" + body.key == sender, "session_is_account")
        refuse_if(self.sessions.get(body.key, (sender,))[0] != sender, "session_taken")
        mine = self.listed.get(sender, ())
        if body.key not in mine:
            living = tuple(key for key in mine if self.sessions[key][2] >= self.height)
            refuse_if(len(living) >= self.limits["session_keys_per_account_max"], "session_limit")
            self.listed[sender] = (*living, body.key)
        self.sessions[body.key] = (sender, body.scopes, body.valid_until, body.allowance)

    def session_key_remove(self, sender: bytes, body: Any) -> None:
        mine = self.listed.get(sender, ())
        refuse_if(body.key not in mine, "session_unknown")
        self.listed[sender] = tuple(key for key in mine if key != body.key)
        _, scopes, until, _ = self.sessions[body.key]
        self.sessions[body.key] = (sender, scopes, min(until, self.height - 1), 0)
