"""Private campaigns: reading keys and the keys of items, after docs/specification/data-validation.md. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.ground import Ground, Thing, parts_of, refuse_if, tagged
from tests.model.privacy_points import keeps_a_secret
from tests.model.submissions import ACCEPTED, COMMIT, IN_REVIEW, QUEUED, UNDECIDED


class Privacy(Ground):
    """Who reads with which key, and what each seat was given."""

    def open(self) -> None:
        self.reading_keys = self.table()
        self.private_items = self.table()
        self.sealed_seats = self.table()
        """By batch and validator."""
        self.grants = self.table()
        """What its contributor and the sponsor gave, by batch, item and validator."""

    def is_private(self, campaign: int) -> bool:
        return bool(self.campaigns[campaign].spec.reading_key)

    def reading_key_set(self, sender: bytes, body: Any) -> None:
        refuse_if(sender not in self.validators, "not_validator")
        refuse_if(not keeps_a_secret(body.key), "reading_key")
        self.reading_keys[sender] = (body.key, self.height)

    def keys_grant(self, sender: bytes, body: Any) -> None:
        batch = self.batches.get(body.batch)
        refuse_if(batch is None or batch.phase != COMMIT, "batch_unknown")
        sponsor = self.campaigns[batch.campaign].sponsor
        for given in body.grants:
            seat = self.seats.get((body.batch, batch.round, given.validator))
            sealed = self.sealed_seats.get((body.batch, given.validator))
            refuse_if(seat is None or sealed is None or seat.state > 1, "grant_seat")
            refuse_if(self.height > sealed.grant_until, "grant_late")
            refuse_if(given.item not in batch.items, "grant_whose")
            own = self.items[given.item].contributor == sender
            refuse_if(not own and sender != sponsor, "grant_whose")
            place = (body.batch, given.item, given.validator)
            known = place in self.grants
            pair = list(self.grants.get(place, (b"", b"")))
            side = 0 if own else 1
            refuse_if(pair[side] != b"", "grant_exists")
            pair[side] = given.wrapped
            self.grants[place] = tuple(pair)
            if not known:
                sealed.granted += 1

    def plain_duplicate(self, sender: bytes, body: Any) -> None:
        for number in (body.item, body.of):
            refuse_if(number not in self.private_items, "item_unknown")
        item, earlier = self.items[body.item], self.items[body.of]
        refuse_if(item.campaign != earlier.campaign or earlier.status == UNDECIDED, "duplicate_order")
        refuse_if((item.sequence, body.item) <= (earlier.sequence, body.of), "duplicate_order")
        for number, salt in ((body.item, body.salt), (body.of, body.salt_of)):
            made = tagged("plain", salt, body.digest, body.size.to_bytes(8, "big"))
            refuse_if(made != self.private_items[number].plain, "duplicate_proof")
        refuse_if(item.status not in (QUEUED, IN_REVIEW, ACCEPTED) or item.displaced, "duplicate_late")
        if item.status == IN_REVIEW:
            item.displaced = True
            return
        if item.status == QUEUED:
            del self.campaigns[item.campaign].queue[body.item]
        else:
            earned = self.earned(item.contributor)
            earned.items_accepted -= 1
            earned.pending -= item.reward_reserved
        self.reject(body.item, ("duplicate",), parts_of(item.bond, self.p.reject_bond_bps))
        item.open_verdict = 0
        self.end_if_idle(item.campaign)

    def ask_for_keys(self, number: int, batch: Thing, address: bytes) -> None:
        """A seat was drawn."""
        if not self.is_private(batch.campaign):
            return
        sponsor = self.campaigns[batch.campaign].sponsor
        others = () if sponsor in batch.contributors else (sponsor,)
        self.sealed_seats[number, address] = self.thing(
            key=self.reading_keys[address][0],
            grant_until=self.height + min(self.p.grant_blocks, self.p.report_commit_blocks // 2),
            granted=0,
            granters=(*batch.contributors, *others),
        )

    def may_still_get_keys(self, number: int, batch: Thing, address: bytes) -> bool:
        sealed = self.sealed_seats.get((number, address))
        if sealed is None:
            return False
        return sealed.granted < len(batch.items) and self.height <= sealed.grant_until

    def unread(self, number: int, sitting: list[bytes]) -> list[int]:
        """Places of a batch whose keys somebody who reported was not given."""
        batch = self.batches[number]
        if not self.is_private(batch.campaign):
            return []
        return [
            place
            for place, item in enumerate(batch.items)
            if not all((number, item, address) in self.grants for address in sitting)
        ]

    def forget_keys(self, number: int) -> None:
        """The batch is done."""
        batch = self.batches[number]
        for address in batch.seats:
            self.sealed_seats.drop((number, address))
            for item in batch.items:
                self.grants.drop((number, item, address))
