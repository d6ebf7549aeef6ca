"""Delegated stake and rewards, after docs/specification/staking.md. Part of the model; shares no code with the ledger."""

from __future__ import annotations

from typing import Any

from tests.model.governance import largest_remainder
from tests.model.ground import BPS, Ground, Thing, parts_of, refuse_if

INDEX_ONE = 2**96
SCALE_ONE, SCALE_MIN = 10**36, 10**17
YEAR_MS = 31_557_600_000


class Delegating(Ground):
    """Who delegated what to whom, what is on its way back, and what it earned."""

    def open(self) -> None:
        self.delegations = self.table()
        """By delegator and validator."""
        self.undelegations = self.table()
        self.redelegations = self.table()
        """Both by delegator, validator and number."""
        self.pools = self.table()
        self.joined = self.table()
        """Of an epoch in which somebody joined a validator: index at its end, shares that joined, and who has yet to read it."""
        self.reviewed = self.table()
        """Epoch, items and points of a validator's latest reviews."""
        self.attendance = self.table()
        """By epoch: blocks counted, and votes of each voter."""

    # -- orders

    def delegate(self, sender: bytes, body: Any) -> None:
        self._check_target(sender, body.validator, body.amount)
        self._visit(sender, body.validator)
        self.move(sender, "stake", body.amount)
        self._put_in(sender, body.validator, body.amount)

    def undelegate(self, sender: bytes, body: Any) -> None:
        held = self._visited(sender, body.validator)
        amount, shares = self._wanted(body.validator, held.shares, held.shares, body.amount)
        lots = self._lots(sender, body.validator, shares)
        mine = [key for key in self.undelegations if key[:2] == (sender, body.validator)]
        refuse_if(
            len(mine) + len(lots) > self.limits["undelegations_per_delegation_max"], "undelegation_limit"
        )
        self._take_out(sender, body.validator, amount, shares)
        self.move("stake", "unbonding", amount)
        row = self.validators[body.validator]
        row.leaving += amount
        passed = given = 0
        for taken, lot in lots:
            came_by = self.redelegations[lot] if lot else None
            source = (came_by.source, came_by.generation, came_by.scale) if came_by else (b"", 0, 0)
            if came_by:
                came_by.shares -= taken
                if not came_by.shares:
                    del self.redelegations[lot]
            passed += taken
            part = amount * passed // shares - given
            given += part
            if part:
                row.leaving_count += 1
                pool = self.pool(body.validator)
                self.undelegations[sender, body.validator, self.count("maturities", 0)] = self.thing(
                    amount=part,
                    since=self.height,
                    due=self.height + self.p.unbonding_blocks,
                    generation=pool.generation,
                    scale=pool.scale,
                    source=source[0],
                    source_generation=source[1],
                    source_scale=source[2],
                )

    def redelegate(self, sender: bytes, body: Any) -> None:
        refuse_if(body.source == body.target, "redelegation_same")
        held = self._visited(sender, body.source)
        under_way = sum(lot.shares for _, lot in self._under_way(sender, body.source))
        refuse_if(held.shares == under_way, "redelegation_under_way")
        amount, shares = self._wanted(body.source, held.shares - under_way, held.shares, body.amount)
        self._check_target(sender, body.target, amount)
        self._visit(sender, body.target)
        there = len(self._under_way(sender, body.target))
        refuse_if(there >= self.limits["redelegations_per_delegation_max"], "redelegation_limit")
        self._take_out(sender, body.source, amount, shares)
        arrived = self._put_in(sender, body.target, amount)
        source = self.pool(body.source)
        self.redelegations[sender, body.target, self.count("maturities", 0)] = self.thing(
            source=body.source,
            shares=arrived,
            since=self.height,
            due=self.height + self.p.unbonding_blocks,
            generation=source.generation,
            scale=source.scale,
        )

    def rewards_claim(self, sender: bytes, body: Any) -> None:
        paid = 0
        for validator in body.validators:
            if validator == sender:
                if sender in self.pools:
                    pool = self.pools[sender]
                    paid += pool.owed
                    self.move("rewards", sender, pool.owed)
                    pool.owed = 0
                continue
            refuse_if((sender, validator) not in self.delegations, "delegation_unknown")
            paid += self._pay_owed(sender, validator)
        refuse_if(not paid, "rewards_none")

    # -- what orders are held against

    def _check_target(self, sender: bytes, target: bytes, amount: int) -> None:
        refuse_if(target not in self.validators, "validator_unknown")
        row, new = self.validators[target], (sender, target) not in self.delegations
        refuse_if(target == sender, "delegation_own")
        refuse_if(row.removed, "validator_removed")
        refuse_if(new and amount < self.p.delegation_min, "delegation_min")
        refuse_if(amount == 0, "amount")
        refuse_if(row.shares > 16 * row.delegated, "validator_depleted")
        there = sum(who == sender for who, _ in self.delegations)
        refuse_if(new and there >= self.limits["delegations_per_account_max"], "delegation_limit")

    def _visited(self, sender: bytes, validator: bytes) -> Thing:
        self._visit(sender, validator)
        refuse_if(validator not in self.validators, "validator_unknown")
        refuse_if((sender, validator) not in self.delegations, "delegation_unknown")
        row: Thing = self.delegations[sender, validator]
        return row

    def _wanted(self, validator: bytes, free: int, whole: int, wanted: int | None) -> tuple[int, int]:
        row = self.validators[validator]
        most = self._worth(validator, free)
        if wanted is None or wanted == most:
            amount, shares = most, free
        else:
            refuse_if(not 0 < wanted < most, "delegation")
            amount, shares = wanted, -(-wanted * row.shares // row.delegated)
        left = self._worth(validator, whole - shares)
        refuse_if(shares < free and left < self.p.delegation_min, "delegation_min")
        return amount, shares

    def _worth(self, validator: bytes, shares: int) -> int:
        row = self.validators[validator]
        return shares * row.delegated // row.shares if row.shares else 0

    def _under_way(self, delegator: bytes, validator: bytes) -> list[tuple[Any, Thing]]:
        return sorted(
            ((key, lot) for key, lot in self.redelegations.items() if key[:2] == (delegator, validator)),
            key=lambda each: each[0][2],
        )

    def _lots(self, sender: bytes, validator: bytes, shares: int) -> list[tuple[int, Any]]:
        """Of which redelegations under way so many shares are: first those of none, then the oldest."""
        lots = self._under_way(sender, validator)
        free = self.delegations[sender, validator].shares - sum(lot.shares for _, lot in lots)
        found: list[tuple[int, Any]] = []
        for most, key in [(free, None), *((lot.shares, key) for key, lot in lots)]:
            taken = min(most, shares)
            if taken:
                found.append((taken, key))
            shares -= taken
        return found

    # -- shares

    def _put_in(self, delegator: bytes, validator: bytes, amount: int) -> int:
        row = self.validators[validator]
        shares = amount * row.shares // row.delegated if row.delegated else amount
        row.delegated += amount
        row.shares += shares
        key = (delegator, validator)
        if key not in self.delegations:
            index = self.pool(validator).index
            self.delegations[key] = self.thing(shares=0, joining=0, joined=0, index=index)
        held, place = self.delegations[key], (validator, self.epoch)
        index, joining, users = self.joined.get(place, (self.pool(validator).index, 0, 0))
        self.joined[place] = (index, joining + shares, users + (not held.joining))
        held.shares += shares
        held.joining += shares
        held.joined = self.epoch
        return int(shares)

    def _take_out(self, delegator: bytes, validator: bytes, amount: int, shares: int) -> None:
        row, key = self.validators[validator], (delegator, validator)
        row.delegated -= amount
        row.shares -= shares
        held = self.delegations[key]
        joining = min(held.joining, shares)
        if joining:  # those that earn nothing yet go first
            place = (validator, self.epoch)
            index, joined, users = self.joined[place]
            self.joined[place] = (index, joined - joining, users)
            if joining == held.joining:
                self._read(place)
        held.joining -= joining
        held.shares -= shares
        if not held.shares:
            del self.delegations[key]

    def _read(self, place: Any) -> None:
        index, shares, users = self.joined[place]
        if users == 1:
            del self.joined[place]
        else:
            self.joined[place] = (index, shares, users - 1)

    def _visit(self, delegator: bytes, validator: bytes) -> None:
        if (delegator, validator) not in self.delegations:
            return
        self._pay_owed(delegator, validator)
        for _, lot in self._under_way(delegator, validator):
            left = self._kept(lot.shares, lot.source, lot.generation, lot.scale)
            cut = lot.shares - left
            source = self.pool(lot.source)
            lot.shares, lot.generation, lot.scale = left, source.generation, source.scale
            if cut:
                amount = self._worth(validator, cut)
                self._take_out(delegator, validator, amount, cut)
                self._forfeit("stake", amount)

    def _kept(self, number: int, validator: bytes, generation: int, scale: int) -> int:
        pool = self.pool(validator)
        return number * pool.scale // scale if pool.generation == generation else 0

    def _forfeit(self, pot: str, amount: int) -> None:
        burned = parts_of(amount, self.p.slash_burn_bps)
        self.move(pot, "burned", burned)
        self.move(pot, "reserve", amount - burned)

    # -- slashes

    def slash_delegated(self, address: bytes, bps: int) -> int:
        """What a slash takes of what others have at stake; all of it is in the pot of stakes then."""
        row, pool = self.validators[address], self.pool(address)
        delegated, leaving = parts_of(row.delegated, bps), parts_of(row.leaving, bps)
        row.delegated -= delegated
        row.leaving -= leaving
        self.move("unbonding", "stake", leaving)
        left = pool.scale * (BPS - bps) // BPS
        if left < SCALE_MIN:
            pool.generation += 1
            left = SCALE_ONE
        pool.scale = left
        return delegated + leaving

    def pool(self, validator: bytes) -> Thing:
        if validator not in self.pools:
            self.pools[validator] = self.thing(
                owed=0, index=0, epoch=0, own=0, delegated=0, commission_bps=0, generation=0, scale=SCALE_ONE
            )
        row: Thing = self.pools[validator]
        return row

    # -- rewards

    def _pay_owed(self, delegator: bytes, validator: bytes) -> int:
        """Pays what a delegation is owed."""
        held, now = self.delegations[delegator, validator], self.pool(validator).index
        owed = (held.shares - held.joining) * (now - held.index)
        if held.joining and held.joined != self.epoch:
            place = (validator, held.joined)
            owed += held.joining * (now - self.joined[place][0])
            self._read(place)
            held.joining = 0
        held.index = now
        self.move("rewards", delegator, owed // INDEX_ONE)
        return int(owed // INDEX_ONE)

    def note_review(self, validator: bytes, items: int, points: int) -> None:
        epoch, due, sum_ = self.reviewed.get(validator, (self.epoch, 0, 0))
        if epoch != self.epoch:
            due = sum_ = 0
        self.reviewed[validator] = (self.epoch, due + items, sum_ + items * points)

    def count_attendance(self, attended: tuple[int, ...]) -> None:
        if not attended:
            return
        nobody = (0,) * len(self.sets[self.epoch][1])
        blocks, votes = self.attendance.get(self.epoch, (0, nobody))
        named = tuple(have + (place in attended) for place, have in enumerate(votes))
        self.attendance[self.epoch] = (blocks + 1, named)

    def attended_bps(self, place: int) -> int:
        blocks, votes = self.attendance.get(self.epoch, (0, ()))
        return votes[place] * BPS // blocks if blocks else BPS

    def pay_rewards(self) -> None:
        if self.height % self.p.epoch_blocks:
            return
        due = []
        for place, (address, _, _) in enumerate(self.sets[self.epoch][1]):
            row, pool = self.validators[address], self.pool(address)
            if row.removed or pool.epoch != self.epoch:
                continue
            joining = self.joined.get((address, self.epoch), (0, 0, 0))[1]
            own = min(pool.own, row.stake)
            delegated = min(pool.delegated, self._worth(address, row.shares - joining))
            amount = self._reward_of(own + delegated, self.attended_bps(place), address)
            due.append((address, own, delegated, amount, row.shares - joining))
        reserve = self.pots["reserve"]
        if sum(each[3] for each in due) > reserve:
            amounts = largest_remainder(reserve, [each[3] for each in due])
            due = [(*each[:3], amount, each[4]) for each, amount in zip(due, amounts, strict=True)]
        for address, own, delegated, amount, earners in due:
            self._pay_reward(address, own, delegated, amount, earners)

    def _reward_of(self, earning: int, attended: int, address: bytes) -> int:
        p = self.p
        epoch, items, points = self.reviewed.get(address, (self.epoch, 0, 0))
        if epoch != self.epoch:
            items = points = 0
        i = max(1, items)
        rate = p.reward_base_bps * BPS * i + p.reward_votes_bps * attended * i + p.reward_reviews_bps * points
        return int(earning * p.epoch_blocks * p.block_interval_ms * rate // (YEAR_MS * BPS * BPS * i))

    def _pay_reward(self, address: bytes, own: int, delegated: int, amount: int, earners: int) -> None:
        if not amount:
            return
        pool = self.pool(address)
        of_delegators = amount * delegated // (own + delegated)
        shared = of_delegators - parts_of(of_delegators, pool.commission_bps)
        self.move("reserve", "rewards", amount)
        pool.owed += amount - shared
        if shared:
            pool.index += shared * INDEX_ONE // earners
        place = (address, self.epoch)
        if place in self.joined:
            self.joined[place] = (pool.index, *self.joined[place][1:])

    def begin_epoch(self, epoch: int) -> None:
        """What of each voter's stake can earn in an epoch, and at which commission."""
        for address, _, _ in self.sets[epoch][1]:
            pool, row = self.pool(address), self.validators[address]
            pool.epoch, pool.own, pool.delegated = epoch, row.stake, row.delegated
            pool.commission_bps = row.commission_bps

    # -- what happens by itself

    def mature(self) -> None:
        """Pays undelegations and ends redelegations whose time has come, a bounded number a block."""
        due = sorted(
            (row.due, key)
            for rows in (self.undelegations, self.redelegations)
            for key, row in rows.items()
            if row.due <= self.height
        )
        for _, key in due[: self.limits["maturities_per_block_max"]]:
            delegator, validator, _ = key
            if key in self.redelegations:
                self._visit(delegator, validator)
                del self.redelegations[key]
            else:
                self._pay_undelegation(delegator, validator, key)

    def _pay_undelegation(self, delegator: bytes, validator: bytes, key: Any) -> None:
        row, register = self.undelegations[key], self.validators[validator]
        left = paid = self._kept(row.amount, validator, row.generation, row.scale)
        if row.source:
            paid = self._kept(left, row.source, row.source_generation, row.source_scale)
        self.move("unbonding", delegator, paid)
        self._forfeit("unbonding", left - paid)
        del self.undelegations[key]
        register.leaving -= left
        register.leaving_count -= 1
        if not register.leaving_count:
            self.move("unbonding", "reserve", register.leaving)
            register.leaving = 0

    def delegated_by(self, delegator: bytes) -> list[bytes]:
        return [to for who, to in self.delegations if who == delegator]

    def delegators_of(self, validator: bytes) -> list[tuple[bytes, int]]:
        return [(who, row.shares) for (who, to), row in self.delegations.items() if to == validator]
