"""Accounts of several keys, after docs/specification/accounts.md. Part of the model; shares no code with the ledger."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Kept, Refused, refuse_if, tagged


def packed_policy(threshold: int, members: Any) -> bytes:
    """Canonical bytes of (threshold, members)."""
    assert threshold < 128
    assert len(members) < 16
    keys = b"".join(b"\xc4\x20" + member for member in members)
    return b"\x92" + bytes([threshold, 0x90 | len(members)]) + keys


class Accounts(Ground):
    """Orders that members sign together."""

    def open(self) -> None:
        self.multisigs = self.table()
        """Policy and next sequence number, from an account's first order on."""

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
