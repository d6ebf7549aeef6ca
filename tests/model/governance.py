"""Governance and parameters, after docs/specification/governance.md and parameters.md. Part of the model.

Bounds of parameters are read from the page itself.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from tests.model.ground import BPS, Ground, Refused, Thing, parts_of, refuse_if

PAGE = Path(__file__).resolve().parents[2] / "docs" / "specification" / "parameters.md"
DEPOSIT, VOTING, PASSED, EXECUTED, FAILED, REJECTED, VETOED, NO_QUORUM, EXPIRED, CANCELLED = range(10)
YES, NO, ABSTAIN, VETO = range(4)
HANDLED_A_BLOCK_MAX = 4
ROW = re.compile(
    r"\| `(?P<name>\w+)` \| (?P<default>[^|]+) \| (?P<low>[\d,]+) to (?P<high>[\d,]+) \|.*\| (?P<takes>[^|]+) \|"
)


class Bounds(NamedTuple):
    low: int
    high: int
    takes: str
    """``next block``, ``next epoch`` or ``fixed``."""
    step: int
    ratio: bool


@cache
def bounds() -> dict[str, Bounds]:
    found = {}
    for match in ROW.finditer(PAGE.read_text()):
        takes = match["takes"].strip()
        step = re.search(r"step (\d+)", takes)
        found[match["name"]] = Bounds(
            int(match["low"].replace(",", "")),
            int(match["high"].replace(",", "")),
            re.split("[,:]", takes)[0],
            int(step[1]) if step else 0,
            "/" in match["default"],
        )
    return found


def largest_remainder(total: int, weights: list[int]) -> list[int]:
    """Exact shares of a total; what floors leave over goes to the largest remainders, of equal ones the first."""
    everything = sum(weights)
    exact = [Fraction(total * weight, everything) for weight in weights]
    shares = [int(each) for each in exact]
    order = sorted(range(len(weights)), key=lambda place: (shares[place] - exact[place], place))
    for place in order[: total - sum(shares)]:
        shares[place] += 1
    return shares


class Governance(Ground):
    """Proposals from their deposit to their end, and what they change."""

    def open(self) -> None:
        self.now = self.thing(**self.p.values())
        """Parameters in force from the next block on."""
        self.later = self.thing(**self.p.values())
        """What the next epoch brings, as far as it is known."""
        self.proposals = self.table()
        self.deposits = self.table()
        """By proposal and depositor."""
        self.votes = self.table()
        """By proposal and voter: option and height."""
        self.upgrades = self.table()
        self.admitted = self.table()
        self.origins = self.table()

    # -- orders

    def proposal_submit(self, sender: bytes, body: Any) -> None:
        self._check_content(body.content)
        wanted = self.p.proposal_deposit_min
        least = max(1, parts_of(wanted, self.p.proposal_deposit_first_bps))
        refuse_if(not least <= body.deposit <= wanted, "deposit")
        if body.deposit < wanted:
            self._check_room(DEPOSIT)
        number = self.count("proposal", 1)
        self.proposals[number] = self.thing(
            proposer=sender,
            title=body.title,
            summary=body.summary,
            content=body.content,
            status=DEPOSIT,
            submitted_at=self.height,
            deposit=0,
            deposit_wanted=wanted,
            deposit_until=self.height + self.p.proposal_deposit_blocks,
            voting_until=0,
            executes_at=0,
            ended_at=0,
            tally=(0, 0, 0, 0, 0),
            reason=False,
        )
        self._put_down(sender, number, body.deposit)

    def proposal_deposit(self, sender: bytes, body: Any) -> None:
        row = self._proposal(body.proposal)
        refuse_if(row.status != DEPOSIT or self.height > row.deposit_until, "proposal_not_pending")
        lacks = row.deposit_wanted - row.deposit
        least = min(lacks, -(-row.deposit_wanted // 20))
        refuse_if(not least <= body.amount <= lacks, "deposit")
        self._put_down(sender, body.proposal, body.amount)

    def proposal_cancel(self, sender: bytes, body: Any) -> None:
        row = self._proposal(body.proposal)
        refuse_if(row.proposer != sender, "proposer")
        refuse_if(row.status != DEPOSIT, "proposal_not_pending")
        self._end(body.proposal, CANCELLED)

    def proposal_vote(self, sender: bytes, body: Any) -> None:
        row = self._proposal(body.proposal)
        refuse_if(row.status != VOTING or self.height > row.voting_until, "proposal_not_voting")
        refuse_if(body.option > 3, "vote_option")
        refuse_if(not self.delegated_by(sender) and sender not in self.validators, "vote_without_stake")
        self.votes[body.proposal, sender] = (body.option, self.height)

    def _proposal(self, number: int) -> Thing:
        refuse_if(number not in self.proposals, "proposal_unknown")
        row: Thing = self.proposals[number]
        return row

    def _check_room(self, status: int) -> None:
        most = self.limits["proposals_voting_max" if status == VOTING else "proposals_pending_max"]
        refuse_if(sum(row.status == status for row in self.proposals.values()) >= most, "proposals_open")

    def _put_down(self, sender: bytes, number: int, amount: int) -> None:
        row = self.proposals[number]
        complete = row.deposit + amount == row.deposit_wanted
        if complete:
            self._check_room(VOTING)
        self.move(sender, "deposits", amount)
        self.deposits.add((number, sender), amount)
        row.deposit += amount
        if complete:
            row.status, row.voting_until = VOTING, self.height + self.p.proposal_voting_blocks

    # -- what a proposal would do

    def _check_content(self, content: Any) -> None:
        {
            "parameters": self._changed,
            "spend": self._check_spend,
            "admission": self._check_admission,
            "upgrade": self._check_upgrade,
            "upgrade_cancel": self._check_cancel,
            "text": lambda content: None,
        }[content.KIND](content)

    def _changed(self, content: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is in force and what the next epoch brings after a change; refused where a chain can't live with it."""
        now, later = self.now.values(), self.later.values()
        names = [change.name for change in content.changes]
        refuse_if(len(names) != len(set(names)), "parameter")
        for change in content.changes:
            refuse_if(change.name not in bounds(), "parameter")
            limit = bounds()[change.name]
            value = (change.value, change.of) if change.of else change.value
            refuse_if(limit.takes == "fixed" or limit.ratio != bool(change.of), "parameter")
            if limit.step:
                before = Fraction(later[change.name])
                refuse_if(not before / limit.step <= value <= before * limit.step, "parameter")
            later[change.name] = value
            if limit.takes == "next block":
                now[change.name] = value
        for params in (now, later):
            refuse_if(not self._livable(params), "parameter")
        return now, later

    def _livable(self, params: dict[str, Any]) -> bool:
        for name, limit in bounds().items():
            value = params[name]
            for part in value if limit.ratio else (value,):
                if not limit.low <= part <= limit.high:
                    return False
            if limit.ratio and value[0] >= value[1]:
                return False
        window = (params["evidence_epochs"] + 1) * params["epoch_blocks"]
        return (
            params["block_weight_target"] <= params["block_weight_max"]
            and params["unbonding_blocks"] >= window
        )

    def _check_spend(self, content: Any) -> None:
        for payment in content.payments:
            refuse_if(payment.to[0] not in self.spend_versions, "address")
            refuse_if(payment.amount == 0, "amount")
        total = sum(payment.amount for payment in content.payments)
        refuse_if(total > self.pots.get("reserve", 0), "reserve")

    spend_versions = (0, 1)

    def _check_admission(self, content: Any) -> None:
        named = [*content.admit, *content.dismiss]
        refuse_if(not named, "admission")
        for address in named:
            refuse_if(address[0] not in self.spend_versions, "address")
            refuse_if(named.count(address) > 1, "admission")

    def _check_upgrade(self, content: Any) -> None:
        refuse_if(content.height <= self.height, "upgrade")
        refuse_if(content.name in [name for name, *_ in self.upgrades.values()], "upgrade")
        refuse_if(content.height in self.upgrades, "upgrade")
        ahead = sum(height > self.height for height in self.upgrades)
        refuse_if(ahead >= self.limits["upgrades_planned_max"], "upgrade")

    def _check_cancel(self, content: Any) -> None:
        refuse_if(self._planned(content.name) is None, "upgrade")

    def _planned(self, name: str) -> int | None:
        found = [at for at, row in self.upgrades.items() if at > self.height and row[0] == name]
        return found[0] if found else None

    def _enact(self, number: int, content: Any) -> None:
        self._check_content(content)
        if content.KIND == "parameters":
            now, later = self._changed(content)
            for name, value in now.items():
                setattr(self.now, name, value)
            for name, value in later.items():
                setattr(self.later, name, value)
            for change in content.changes:
                at_once = bounds()[change.name].takes == "next block"
                begins = self.height if at_once else (self.epoch + 1) * self.p.epoch_blocks
                self.origins[change.name] = (number, self.height, begins + 1)
        elif content.KIND == "spend":
            for payment in content.payments:
                self.move("reserve", payment.to, payment.amount)
        elif content.KIND == "admission":
            for address in content.admit:
                self.admitted[address] = True
            for address in content.dismiss:
                self.admitted.drop(address)
        elif content.KIND == "upgrade":
            self.upgrades[content.height] = (content.name, content.version, number)
        elif content.KIND == "upgrade_cancel":
            del self.upgrades[self._planned(content.name)]

    # -- what happens by itself

    def run_proposals(self) -> None:
        due = []
        for number, row in self.proposals.items():
            if row.status <= PASSED:
                at = (row.deposit_until, row.voting_until, row.executes_at)[row.status]
                if at <= self.height:
                    due.append((at, row.status, number))
        for _, status, number in sorted(due)[:HANDLED_A_BLOCK_MAX]:
            if status == DEPOSIT:
                self._end(number, EXPIRED)
            elif status == VOTING:
                self._count(number)
            else:
                self._execute(number)

    def _count(self, number: int) -> None:
        row = self.proposals[number]
        *votes, power = row.tally = self._tally(number)
        found = self._verdict(votes, power)
        if found != PASSED:
            self._end(number, found)
            return
        row.status, row.executes_at = PASSED, self.height + self.p.proposal_timelock_blocks
        self._give_back(number, burning=False)

    def _tally(self, number: int) -> tuple[int, ...]:
        """All stake of the epoch's voters, each unit once: those who delegated and voted decide over what they delegated."""
        votes, power = [0, 0, 0, 0], 0
        for address, _, _ in self.sets[self.epoch][1]:
            row = self.validators[address]
            if row.jailed:
                continue
            power += row.stake + row.delegated
            said = [0, 0, 0, 0]
            for delegator, shares in self.delegators_of(address):
                if (number, delegator) in self.votes:
                    said[self.votes[number, delegator][0]] += shares
            if any(said):
                *parts, following = largest_remainder(row.delegated, [*said, row.shares - sum(said)])
            else:
                parts, following = [0, 0, 0, 0], row.delegated
            votes = [have + part for have, part in zip(votes, parts, strict=True)]
            if (number, address) in self.votes:
                votes[self.votes[number, address][0]] += row.stake + following
        return (*votes, power)

    def _verdict(self, votes: list[int], power: int) -> int:
        voted = sum(votes)
        if not voted or Fraction(voted, power) < Fraction(self.p.proposal_quorum_bps, BPS):
            return NO_QUORUM
        if Fraction(votes[VETO], voted) > Fraction(self.p.proposal_veto_bps, BPS):
            return VETOED
        decided = voted - votes[ABSTAIN]
        if decided and Fraction(votes[YES], decided) > Fraction(self.p.proposal_threshold_bps, BPS):
            return PASSED
        return REJECTED

    def _execute(self, number: int) -> None:
        mark = len(self.log.entries)
        try:
            self._enact(number, self.proposals[number].content)
        except Refused:
            self.log.back(mark)
            self.proposals[number].reason = True
            self._end(number, FAILED)
            return
        self._end(number, EXECUTED)

    def _end(self, number: int, status: int) -> None:
        row = self.proposals[number]
        row.status, row.ended_at = status, self.height
        if status in (EXPIRED, CANCELLED):
            row.summary = ""
        self._give_back(number, burning=status in (VETOED, NO_QUORUM))

    def _give_back(self, number: int, burning: bool) -> None:
        for key in sorted(key for key in self.deposits if key[0] == number):
            self.move("deposits", "burned" if burning else key[1], self.deposits[key])
            del self.deposits[key]

    def turn_parameters(self) -> None:
        """At a boundary what waits for the next epoch comes into force."""
        if self.height % self.p.epoch_blocks == 0:
            for name, value in self.later.values().items():
                setattr(self.now, name, value)

    def take_parameters(self) -> None:
        """A block has the parameters that the one below it left."""
        for name, value in self.now.values().items():
            setattr(self.p, name, value)
