"""A chain in memory with people on it: their orders, and blocks through the real ledger. Knows no minds and no truth."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from omnitensor.protocol import merkle
from omnitensor.protocol.blocks import Event
from omnitensor.protocol.bodies import (
    Body,
    CampaignOpen,
    CampaignSpec,
    Category,
    GoldCommit,
    GoldOpening,
    GoldReveal,
    ItemDeclaration,
    ReportCommit,
    ReportReveal,
    SubmissionCommit,
    SubmissionReveal,
)
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.params import Params
from omnitensor.protocol.reviews import (
    ItemScore,
    encode_report,
    gold_leaf,
    items_root,
    report_commitment,
    submission_commitment,
)
from omnitensor.protocol.transactions import unsigned
from omnitensor.protocol.types import (
    NANO,
    SUPPLY_MAX,
    Address,
    Amount,
    BatchId,
    BlsPublicKey,
    CampaignId,
    Hash,
    Height,
    ItemId,
    PublicKey,
    TimeMs,
)
from state.ledger.accounts import Pot
from state.ledger.context import BlockContext
from state.ledger.prepared import prepare
from state.ledger.supply import check_everything
from state.ledger.transition import Execution
from state.overlay import Overlay
from state.records import Account, PotTotal, Validator
from state.records_review import Batch, Campaign, Item, Seat, SeatState
from state.schema import ACCOUNTS, BATCHES, CAMPAIGNS, ITEMS, POTS, SEATS, VALIDATORS, Table

CHAIN = "people-1"
SALT = Hash(bytes(32))
BALANCE = 4_000_000 * NANO
STAKE = 100_000 * NANO
FEE = NANO
PARAMS = Params(
    batch_items=20,
    batch_contributor_share_bps=10_000,
    batch_wait_blocks=1,
    seed_delay_blocks=1,
    base_fee_initial=1,
    epoch_blocks=100_000_000,  # nobody votes here: one epoch, as long as it may be
)
SPEC = CampaignSpec(
    title="People",
    instructions="",
    specification=None,
    media=("text/plain",),
    licence="CC0-1.0",
    tier_bps=(10_000,),
    categories=(Category("any", 10_000, 0),),
    unit_price=Amount(NANO),
    review_fee=Amount(FEE),
    item_bond=Amount(NANO),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=5,
    second_seats=11,
    agree_min_bps=7_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000,
    closes_at=Height(1_000_000),
    audit_bps=500,
)
"""The standard preset."""


class Nothing:
    """A base without rows: the whole state is in the one overlay above it."""

    def row(self, table: Table[Any], key: bytes) -> None:
        return None

    def rows(
        self, table: Table[Any], prefix: bytes, start: bytes, reverse: bool
    ) -> Iterator[tuple[bytes, Any]]:
        return iter(())


def address_of(name: str) -> Address:
    return Address(b"\0" + sha256(name.encode()).digest())


def declaration(text: str) -> ItemDeclaration:
    digest = sha256(text.encode()).digest()
    content = ContentId(Hash(digest), 100, Hash(sha256(b"root" + digest).digest()))
    return ItemDeclaration(content, "text/plain", 0, 0)


class Town:
    """Accounts, validators, and blocks one after another."""

    def __init__(self, people: list[str], reviewers: list[str], seed: int, params: Params = PARAMS) -> None:
        self.view = Overlay(Nothing())
        self.params, self.seed, self.height = params, seed, 0
        self.nonces: dict[Address, int] = {}
        self.queue: list[tuple[Address, Body]] = []
        self.refused: list[str] = []
        self.names = {address_of(name): name for name in (*people, *reviewers)}
        for address in self.names:
            self.view.put(ACCOUNTS, Account(Amount(BALANCE), 0), address)
        for number, name in enumerate(reviewers):
            key = BlsPublicKey(number.to_bytes(48, "big"))
            row = Validator(Amount(STAKE), Amount(0), Amount(0), 0, key, 0, name, False, Height(0))
            self.view.put(VALIDATORS, row, address_of(name))
        held = len(self.names) * BALANCE, len(reviewers) * STAKE
        self.view.put(POTS, PotTotal(Amount(held[0])), Pot.ACCOUNTS.value)
        self.view.put(POTS, PotTotal(Amount(held[1])), Pot.STAKE.value)
        self.view.put(POTS, PotTotal(Amount(SUPPLY_MAX - sum(held))), Pot.RESERVE.value)
        self.view.forget_marks()

    def send(self, sender: Address, body: Body) -> None:
        self.queue.append((sender, body))

    def block(self) -> tuple[Event, ...]:
        """Executes what is queued; everything that it said."""
        self.height += 1
        execution = Execution(self.view, self._context())
        events: list[Event] = []
        for sender, body in self.queue:
            nonce = self.nonces.get(sender, 0)
            self.nonces[sender] = nonce + 1
            made = unsigned(
                chain_id=CHAIN,
                sender=sender,
                nonce=nonce,
                valid_until=Height(self.height + 100),
                max_fee=Amount(NANO),
                tip=Amount(0),
                body=body,
                signer=PublicKey(sender[1:]),
            )
            receipt = execution.apply(prepare(made))
            if not receipt.ok:
                self.refused.append(f"{body.KIND}: {receipt.code}")
            events += receipt.events
        self.queue = []
        return (*events, *execution.finish().result.events)

    def _context(self) -> BlockContext:
        beacon = sha256(f"{self.seed}/{self.height}".encode()).digest()
        return BlockContext(
            chain_id=CHAIN,
            height=Height(self.height),
            epoch=epoch_of(Height(self.height), self.params),
            timestamp_ms=TimeMs(1_000 * self.height),
            proposer=address_of("proposer"),
            beacon=Hash(beacon),
            params=self.params,
            base_fee=1,
        )

    def check(self) -> None:
        """No unit was made or lost, and no order was refused."""
        check_everything(self.view)
        assert not self.refused, self.refused[:3]

    # -- orders

    def open(self, sponsor: str, spec: CampaignSpec = SPEC) -> CampaignId:
        self.send(address_of(sponsor), CampaignOpen(spec, Amount(BALANCE // 2)))
        (opened,) = [event for event in self.block() if event.kind == "campaign.opened"]
        return CampaignId(int(dict(opened.fields)["campaign"]))

    def commit_items(self, who: str, campaign: CampaignId, texts: list[str]) -> None:
        sender, declared = address_of(who), tuple(map(declaration, texts))
        made = submission_commitment(CHAIN, campaign, items_root(declared), sender, SALT)
        self.send(sender, SubmissionCommit(campaign, made, len(declared)))

    def reveal_items(self, who: str, campaign: CampaignId, texts: list[str]) -> None:
        sender, declared = address_of(who), tuple(map(declaration, texts))
        made = submission_commitment(CHAIN, campaign, items_root(declared), sender, SALT)
        self.send(sender, SubmissionReveal(campaign, made, SALT, declared))

    def commit_report(self, who: Address, number: BatchId, round_: int, report: bytes) -> None:
        made = report_commitment(CHAIN, number, round_, who, SALT, report)
        self.send(who, ReportCommit(number, round_, made, b""))

    def reveal_report(self, who: Address, number: BatchId, round_: int, report: bytes) -> None:
        self.send(who, ReportReveal(number, round_, SALT, report))

    # -- what is there

    def batch(self, number: BatchId) -> Batch:
        row = self.view.get(BATCHES, number)
        assert row is not None
        return row

    def item(self, number: ItemId) -> Item:
        row = self.view.get(ITEMS, number)
        assert row is not None
        return row

    def campaign(self, number: CampaignId) -> Campaign:
        row = self.view.get(CAMPAIGNS, number)
        assert row is not None
        return row

    def seats(self, number: BatchId, batch: Batch, state: SeatState) -> list[tuple[Address, Seat]]:
        found = [(who, self.view.get(SEATS, number, batch.round, who)) for who in batch.seats]
        return [(who, seat) for who, seat in found if seat is not None and seat.state == state]


class GoldTree:
    """A sponsor's gold: texts and which criteria each passes (1, 2, 4)."""

    def __init__(self, campaign: CampaignId, answers: dict[str, int]) -> None:
        self.campaign, self.answers = campaign, answers
        self.places = {text: place for place, text in enumerate(answers)}
        self.leaves = [
            merkle.leaf_hash(gold_leaf(CHAIN, campaign, declaration(text).content.chunk_root, bits, SALT))
            for text, bits in answers.items()
        ]

    def commit(self, first_seats: int = SPEC.first_seats) -> GoldCommit:
        """The least bond for each: a first round of so many seats."""
        root = Hash(merkle.root(self.leaves))
        return GoldCommit(self.campaign, root, len(self.leaves), Amount(first_seats * FEE))

    def reveal(self, number: BatchId, found: list[tuple[ItemId, str]]) -> GoldReveal:
        openings = []
        for item, text in found:
            place = self.places[text]
            path = tuple(map(Hash, merkle.inclusion_proof(self.leaves, place)))
            openings.append(GoldOpening(place, item, self.answers[text], SALT, path))
        return GoldReveal(number, tuple(openings))


def report_of(scores: list[ItemScore]) -> bytes:
    return encode_report(tuple(scores))
