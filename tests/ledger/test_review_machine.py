"""Random histories of the whole ledger, valid orders and invalid ones, block by block.

After every transaction: no unit made or lost, and a refused order changed fee and nonce alone. After every block: every row
sums to its pot, and a model fed by fees and events alone knows every balance. At the end: all campaigns are driven to their
end and hold nothing, and the same blocks give the same rows (and so the same state root) from genesis.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import (
    CampaignClose,
    CampaignFund,
    CampaignOpen,
    ReportCommit,
    ReportReveal,
    SeatAccept,
    SeatDecline,
    SessionKeyAdd,
    SessionKeyRemove,
    StakeAdd,
    StakeWithdraw,
    SubmissionCommit,
    SubmissionReveal,
    Transfer,
)
from omnitensor.protocol.reviews import ItemScore, encode_report
from omnitensor.protocol.types import Amount, BatchId, CampaignId, Hash, Height
from state.ledger.accounts import Pot, pot
from state.records_review import BatchPhase, CampaignStatus, SeatState
from state.schema import ACCOUNTS, CAMPAIGNS
from tests.ledger.world import (
    BAD,
    CHAIN,
    GOOD,
    OMNIT,
    QUICK,
    SPEC,
    World,
    address_of,
    content_of,
    declaration,
    key_of,
    salt_of,
)

PEOPLE = ("sponsor", "ann", "ben", "cyd")
VALIDATORS = tuple(f"val{n}" for n in range(5))
WHO = st.sampled_from(PEOPLE + VALIDATORS)
SITTER = st.sampled_from(VALIDATORS)
SCORES = st.sampled_from([GOOD, BAD, replace(GOOD, flags=4), ItemScore(56, 59, 59)])

# What each event says was paid by or to an account: (kind, field of the account, field of the amount, sign).
MONEY_EVENTS = (
    ("campaign.opened", "sponsor", "budget", -1),
    ("campaign.funded", "sponsor", "amount", -1),
    ("refund", "to", "amount", 1),
    ("submission.committed", "contributor", "bond", -1),
    ("submission.expired", "contributor", "bond", 1),
    ("bond.returned", "to", "amount", 1),
    ("pay.contributor", "to", "amount", 1),
    ("pay.reviewer", "to", "amount", 1),
    ("stake.added", "validator", "amount", -1),
    ("stake.paid", "validator", "amount", 1),
)


class LedgerMachine(RuleBasedStateMachine):
    """Orders are queued by rules and executed by the rule that makes a block."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            people=PEOPLE,
            validators=len(VALIDATORS),
            params=replace(QUICK, unbonding_blocks=7, batch_items=3, seat_redraws_max=1),
            check_every_transaction=True,
        )
        self.submissions: list[tuple[str, int, tuple[Any, ...], Hash]] = []
        self.balances = {key: row.balance for key, row in self.world.view.scan(ACCOUNTS)}
        self.names = 0

    @initialize()
    def begin(self) -> None:
        """A campaign with a first batch on its way, so that every history has something to review."""
        self.send("sponsor", CampaignOpen(SPEC, Amount(800 * OMNIT)))
        self.make_block()
        self.submit("ann", [1, 2, 4], 1)
        self.submit("ben", [5, 7], 1)

    def send(self, who: str, body: Any) -> None:
        """Queues an order; a few of them make a block."""
        self.world.send(who, body)
        if len(self.world.queue) >= 3:
            self.make_block()

    def campaigns(self) -> list[int]:
        return [int.from_bytes(key, "big") for key, _ in self.world.view.scan(CAMPAIGNS)]

    # -- money

    @rule(who=WHO, to=WHO, amount=st.integers(0, 20_000_000 * OMNIT))
    def transfer(self, who: str, to: str, amount: int) -> None:
        self.send(who, Transfer(address_of(to), Amount(amount)))

    @rule(who=SITTER | WHO, amount=st.integers(0, 2_000 * OMNIT), add=st.booleans())
    def stake(self, who: str, amount: int, add: bool) -> None:
        self.send(who, (StakeAdd if add else StakeWithdraw)(Amount(amount)))

    @rule(who=SITTER)
    def withdraw_everything(self, who: str) -> None:
        self.send(who, StakeWithdraw(Amount(self.world.stake)))

    @rule(who=WHO, key=st.sampled_from(["k1", "k2"]), until=st.integers(0, 100), remove=st.booleans())
    def session(self, who: str, key: str, until: int, remove: bool) -> None:
        body = SessionKeyRemove(key_of(key)) if remove else SessionKeyAdd(key_of(key), 1, Height(until))
        self.send(who, body)

    # -- campaigns

    @rule(
        who=WHO,
        budget=st.sampled_from([0, 30 * OMNIT, 500 * OMNIT, 2 * 10_000_000 * OMNIT]),
        ahead=st.integers(0, 25),
        first=st.integers(1, 6),
        tiers=st.sampled_from([(10_000,), (5_000, 33_333), (0,)]),
    )
    def open(self, who: str, budget: int, ahead: int, first: int, tiers: tuple[int, ...]) -> None:
        closes_at = Height(self.world.height + ahead)
        spec = replace(
            SPEC, closes_at=closes_at, first_seats=first, tier_bps=tiers, unit_price=Amount(OMNIT + 7)
        )
        self.send(who, CampaignOpen(spec, Amount(budget)))

    @rule(who=st.just("sponsor") | WHO, number=st.integers(0, 4), amount=st.integers(0, 100 * OMNIT))
    def fund(self, who: str, number: int, amount: int) -> None:
        self.send(who, CampaignFund(CampaignId(number), Amount(amount)))

    @rule(who=st.just("sponsor") | WHO, number=st.integers(1, 4), sure=st.sampled_from([False, False, True]))
    def close(self, who: str, number: int, sure: bool) -> None:
        if sure or number > 1:
            self.send(who, CampaignClose(CampaignId(number)))

    # -- submissions

    @rule(
        who=WHO,
        number=st.sampled_from([1, 1, 2, 3]),
        texts=st.lists(st.integers(0, 15), min_size=1, max_size=4),
        off=st.booleans(),
    )
    def commit(self, who: str, number: int, texts: list[int], off: bool) -> None:
        declared = tuple(
            declaration(
                f"{text}",
                tier=text % 2,
                category=int(text % 3 == 0),
                media="text/plain" if text else "audio/ogg",
            )
            for text in texts
        )
        if off:
            declared = (replace(declared[0], content=content_of("empty", 0)), *declared[1:])
        self.commit_to(who, number, declared)

    def commit_to(self, who: str, number: int, declared: tuple[Any, ...]) -> Hash:
        self.names += 1
        salt = salt_of("machine", self.names)
        self.world.commit(who, number, declared, salt)
        self.submissions.append((who, number, declared, salt))
        return salt

    @rule(
        who=WHO,
        texts=st.lists(st.integers(1, 30), min_size=1, max_size=4),
        number=st.sampled_from([1, 1, 1, 2]),
    )
    def submit(self, who: str, texts: list[int], number: int) -> None:
        """A whole submission as it should go."""
        declared = tuple(declaration(f"{text}") for text in texts)
        salt = self.commit_to(who, number, declared)
        self.make_block()
        self.world.reveal(who, number, declared, salt)
        self.make_block()

    @rule(who=WHO, number=st.integers(0, 3), count=st.sampled_from([0, 1, 256, 257]))
    def commit_nonsense(self, who: str, number: int, count: int) -> None:
        self.send(who, SubmissionCommit(CampaignId(number), Hash(bytes(32)), count))

    @precondition(lambda self: self.submissions)
    @rule(
        data=st.data(),
        thief=st.none() | WHO,
        change=st.sampled_from(["", "", "", "salt", "items", "campaign"]),
    )
    def reveal(self, data: st.DataObject, thief: str | None, change: str) -> None:
        who, number, declared, salt = data.draw(st.sampled_from(self.submissions[-6:]))
        commitment = self.world.commitment(who, number, declared, salt)
        body = SubmissionReveal(CampaignId(number), commitment, salt, declared)
        if change == "salt":
            body = replace(body, salt=Hash(bytes(32)))
        elif change == "items":
            body = replace(body, items=(*declared[1:], declaration("other")))
        elif change == "campaign":
            body = replace(body, campaign=CampaignId(number + 1))
        self.send(thief or who, body)

    # -- reviews

    @rule(who=SITTER | WHO, number=st.integers(1, 4), decline=st.booleans())
    def seat(self, who: str, number: int, decline: bool) -> None:
        self.send(who, (SeatDecline if decline else SeatAccept)(BatchId(number), 1))

    @precondition(lambda self: self.world.open_batches())
    @rule(score=SCORES, lazy=st.sets(SITTER, max_size=3) | st.just(set()), times=st.sampled_from([1, 3, 3]))
    def review(self, score: ItemScore, lazy: set[str], times: int) -> None:
        """Everyone who sits does what the phase asks for, except the lazy."""
        for _ in range(times):
            for number in self.world.open_batches():
                batch = self.world.batch(number)
                scores = (score if number % 2 else GOOD,) * len(batch.items)
                if batch.phase == BatchPhase.COMMIT:
                    for name in self.world.seats(number, SeatState.SEATED, SeatState.ACCEPTED):
                        if name not in lazy:
                            self.world.send_commit(name, number, scores)
                elif batch.phase == BatchPhase.REVEAL:
                    for name in self.world.seats(number, SeatState.COMMITTED):
                        if name not in lazy:
                            self.world.send_reveal(name, number, scores)
            self.make_block(1)

    @rule(who=SITTER | WHO, number=st.integers(0, 3), round_=st.integers(0, 2), count=st.integers(1, 4))
    def report_nonsense(self, who: str, number: int, round_: int, count: int) -> None:
        self.send(who, ReportCommit(BatchId(number), round_, Hash(bytes(32)), b""))
        report = encode_report((GOOD,) * count)
        self.send(who, ReportReveal(BatchId(number), round_, Hash(bytes(32)), report))

    # -- blocks

    @rule(count=st.integers(1, 4))
    def make_block(self, count: int = 1) -> None:
        for _ in range(count):
            transactions = list(self.world.queue)
            outcome = self.world.block()
            for transaction, receipt in zip(transactions, outcome.result.receipts, strict=True):
                self.pay(transaction.sender, -receipt.fee - receipt.tip)
                self.pay(address_of("proposer"), receipt.tip)
                self.take(receipt.events)
                if receipt.ok and isinstance(transaction.body, Transfer):
                    self.pay(transaction.sender, -transaction.body.amount)
                    self.pay(transaction.body.to, transaction.body.amount)
            self.take(outcome.result.events)

    def take(self, events: tuple[Event, ...]) -> None:
        for event in events:
            fields = dict(event.fields)
            for kind, account, amount, sign in MONEY_EVENTS:
                if event.kind == kind:
                    self.pay(fields[account], sign * int(fields[amount]))

    def pay(self, account: Any, amount: int) -> None:
        self.balances[account] = self.balances.get(account, 0) + amount

    @invariant()
    def events_tell_every_balance(self) -> None:
        assert {key: row.balance for key, row in self.world.view.scan(ACCOUNTS)} == self.balances

    def teardown(self) -> None:
        """Drives every campaign to its end without another report."""
        self.world.check_every_transaction = False
        self.world.block()
        for number in self.campaigns():
            sponsor = self.world.name_of(self.world.campaign(number).sponsor)
            self.world.send(sponsor, CampaignClose(CampaignId(number)))
        self.world.blocks(60)
        for number in self.campaigns():
            row = self.world.campaign(number)
            assert row.status in (CampaignStatus.CLOSED, CampaignStatus.EXPIRED)
            assert row.escrow.total == 0
        assert pot(self.world.view, Pot.ESCROW) == pot(self.world.view, Pot.BONDS) == 0
        assert self.world.replayed() == self.world.base.encoded


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestLedgerMachine = pytest.mark.slow(TestLedgerMachine)


def test_histories_are_told_apart_by_their_chain() -> None:
    """The same orders on another chain are other transactions: the machine's replay would not pass for another's."""
    ours, theirs = World(), World(chain_id="other-1")
    body = Transfer(address_of("ann"), Amount(1))
    assert ours.order("ben", body).id != theirs.order("ben", body).id
    assert ours.chain_id == CHAIN
