"""Accounts of several keys and vaults of locked money, after docs/specification/accounts.md. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Kept, Refused, refuse_if, tagged


def packed_policy(threshold: int, members: Any) -> bytes:
    """Canonical bytes of (threshold, members)."""
    assert threshold < 128
    assert len(members) < 16
    keys = b"".join(b"\xc4\x20" + member for member in members)
    return b"\x92" + bytes([threshold, 0x90 | len(members)]) + keys


CENTURY_MS = 100 * 366 * 24 * 3600 * 1000


class Accounts(Ground):
    """Orders that members sign together, and money that opens with time."""

    def open(self) -> None:
        self.multisigs = self.table()
        """Policy and next sequence number, from an account's first order on."""

        self.vaults = self.table()

    def vault_grant(self, sender: bytes, body: Any) -> None:
        refuse_if(body.holder[0] > 1, "address")
        refuse_if(body.amount == 0, "amount")
        start, cliff, end = body.start_ms, body.cliff_ms, body.end_ms
        refuse_if(not start <= cliff <= end or start == end or end - start > CENTURY_MS, "schedule")
        refuse_if(end <= self.time_ms, "schedule")
        address = b"\2" + tagged("vault", self.count("vault", 0).to_bytes(8, "big"))
        self.move(sender, address, body.amount)
        self.vaults[address] = self.thing(
            holder=body.holder,
            granter=sender,
            total=body.amount,
            start_ms=start,
            cliff_ms=cliff,
            end_ms=end,
            withdrawn=0,
        )

    def vault_withdraw(self, sender: bytes, body: Any) -> None:
        row = self.vaults.get(body.vault)
        refuse_if(row is None or row.holder != sender, "vault_unknown")
        vested = 0
        if self.time_ms >= row.cliff_ms:
            vested = row.total * (self.time_ms - row.start_ms) // (row.end_ms - row.start_ms)
        balance = self.balances.get(body.vault, 0)
        free = balance if self.time_ms >= row.end_ms else min(balance, vested - row.withdrawn)
        refuse_if(not 0 < body.amount <= free, "vault_locked")
        self.move(body.vault, sender, body.amount)
        row.withdrawn += body.amount

    def vault_execute(self, sender: bytes, body: Any) -> None:
        row = self.vaults.get(body.vault)
        refuse_if(row is None or row.holder != sender, "vault_unknown")
        before = self.balances.get(body.vault, 0)
        getattr(self, body.order.KIND)(body.vault, body.order)
        staked = body.order.amount if body.order.KIND == "delegate" else 0
        earned = self.balances.get(body.vault, 0) + staked - before
        self.move(body.vault, sender, earned)

    def multisig_execute(self, sender: bytes, body: Any) -> None:
        members, threshold = list(body.policy.members), body.policy.threshold
        refuse_if(len(members) > 16 or members != sorted(set(members)), "multisig_members")
        refuse_if(not 1 <= threshold <= len(members), "multisig_threshold")
        places = [one.member for one in body.signatures]
        refuse_if(len(places) != threshold or places != sorted(set(places)), "multisig_signatures")
        refuse_if(places[-1] >= len(members), "multisig_signatures")
        address = b"\1" + tagged("multisig", packed_policy(threshold, members))
        refuse_if(address != body.account, "multisig_account")
        refuse_if(body.sequence != self.multisigs.get(body.account, (None, 0))[1], "multisig_sequence")
        refuse_if(self.height > body.valid_until, "multisig_expired")
        message = tagged(
            "multisig-order",
            self.chain_id.encode(),
            body.account,
            body.sequence.to_bytes(8, "big"),
            body.valid_until.to_bytes(8, "big"),
            self.bytes_of(body.order),
        )
        for one in body.signatures:
            good = self.scheme.verify_key(members[one.member], message, one.signature)
            refuse_if(not good, "multisig_signature")
        self.multisigs[body.account] = (body.policy, body.sequence + 1)
        mark = len(self.log.entries)
        try:
            getattr(self, body.order.KIND)(body.account, body.order)
        except Refused as refusal:
            self.log.back(mark)
            raise Kept(refusal.code) from refusal
