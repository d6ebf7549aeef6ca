"""A small chain in memory for tests of the ledger: accounts, validators, and blocks through the real `apply_block` rules.

Every block is checked for conservation by summing every row, and its transactions are kept, so that a run can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from msgspec.structs import replace

from omnitensor.protocol.blocks import Event, Receipt
from omnitensor.protocol.bodies import (
    BodyBase,
    CampaignOpen,
    CampaignSpec,
    Category,
    ItemDeclaration,
    ReportCommit,
    ReportReveal,
    SubmissionCommit,
    SubmissionReveal,
)
from omnitensor.protocol.codec import encode
from omnitensor.protocol.content import ContentId
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.params import Params
from omnitensor.protocol.reviews import (
    ItemScore,
    encode_report,
    items_root,
    report_commitment,
    submission_commitment,
)
from omnitensor.protocol.transactions import Transaction, unsigned
from omnitensor.protocol.types import (
    NANO,
    SUPPLY_MAX,
    Address,
    Amount,
    Epoch,
    Hash,
    Height,
    PublicKey,
    TimeMs,
)
from state.ledger import epochs
from state.ledger.accounts import Pot, account
from state.ledger.context import BlockContext
from state.ledger.prepared import prepare
from state.ledger.supply import check_everything
from state.ledger.transition import Execution, Outcome
from state.overlay import DictBase, Overlay
from state.records import Account, PotTotal, Validator
from state.records_review import (
    SEATS_LIVE,
    Batch,
    BatchPhase,
    Campaign,
    CampaignStatus,
    Item,
    ItemStatus,
    SeatState,
)
from state.schema import (
    ACCOUNTS,
    APPEALS,
    BATCHES,
    CAMPAIGNS,
    DUE,
    GOLD_SETS,
    ITEMS,
    POTS,
    SEATS,
    SUBMISSIONS,
    SUBMISSIONS_OPEN,
    VALIDATORS,
    number,
)

CHAIN = "test-1"
OMNIT = NANO

QUICK = Params(
    batch_items=6,
    batch_wait_blocks=3,
    seed_delay_blocks=2,
    seat_accept_blocks=3,
    report_commit_blocks=8,
    report_reveal_blocks=4,
    challenge_blocks=5,
    gold_reveal_blocks=4,
    submission_reveal_blocks=6,
    base_fee_initial=1,
    participation_reward=Amount(0),
)
"""Windows of a few blocks, so that a campaign's whole life fits a test; nothing but pay comes of an item."""

SPEC = CampaignSpec(
    title="Sentences",
    instructions="Whole sentences",
    specification=None,
    media=("text/plain", "image/*"),
    licence="CC-BY-4.0",
    tier_bps=(5_000, 10_000, 25_000),
    categories=(Category("any", 10_000, 0), Category("rare", 20_000, 3)),
    unit_price=Amount(3 * OMNIT),
    review_fee=Amount(OMNIT),
    item_bond=Amount(OMNIT),
    criterion_weights=(3_000, 4_000, 3_000),
    thresholds=(60, 60, 60),
    overall_threshold=60,
    first_seats=5,
    second_seats=11,
    agree_min_bps=7_000,
    contributor_share_max_bps=10_000,
    item_bytes_max=1_000_000,
    closes_at=Height(10_000),
)

GOOD = ItemScore(90, 85, 80)
BAD = ItemScore(20, 30, 40)


def key_of(name: str) -> PublicKey:
    """A public key for a name; nobody needs its secret, since signatures are the caller's business."""
    return PublicKey(sha256(name.encode()).digest())


def address_of(name: str) -> Address:
    return Address(b"\x00" + key_of(name))


def content_of(text: str, size: int = 100) -> ContentId:
    """A content id that stands for some bytes."""
    digest = sha256(text.encode()).digest()
    return ContentId(Hash(digest), size, Hash(sha256(b"root" + digest).digest()))


def declaration(text: str, *, tier: int = 1, category: int = 0, media: str = "text/plain") -> ItemDeclaration:
    return ItemDeclaration(content_of(text), media, tier, category)


def salt_of(*parts: object) -> Hash:
    return Hash(sha256(repr(parts).encode()).digest())


@dataclass
class Played:
    """A block that was executed: what it takes to do so again."""

    ctx: BlockContext
    transactions: tuple[Transaction, ...]


@dataclass
class World:
    """A chain in memory. `send` queues, `block` executes."""

    people: tuple[str, ...] = ("sponsor", "ann", "ben", "cyd", "dan")
    validators: int = 7
    params: Params = QUICK
    stake: int = 100_000 * OMNIT
    balance_each: int = 10_000_000 * OMNIT
    chain_id: str = CHAIN
    height: int = 0
    played: list[Played] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    check_every_block: bool = True
    check_every_transaction: bool = False

    def __post_init__(self) -> None:
        self.base = DictBase()
        self.queue: list[Transaction] = []
        self.nonces: dict[str, int] = {}
        overlay = Overlay(self.base)
        self.validator_names = tuple(f"val{n}" for n in range(self.validators))
        spent = 0
        for name in (*self.people, *self.validator_names, "proposer"):
            overlay.put(ACCOUNTS, Account(Amount(self.balance_each), 0), address_of(name))
            spent += self.balance_each
        for name in self.validator_names:
            row = Validator(
                Amount(self.stake),
                Amount(0),
                Amount(0),
                0,
                name.encode().rjust(48, b"\0"),
                0,
                name,
                False,
                Height(0),  # type: ignore[arg-type] # stands for a key
            )
            overlay.put(VALIDATORS, row, address_of(name))
        staked = self.validators * self.stake
        for pot, amount in (
            (Pot.ACCOUNTS, spent),
            (Pot.STAKE, staked),
            (Pot.RESERVE, SUPPLY_MAX - spent - staked),
        ):
            overlay.put(POTS, PotTotal(Amount(amount)), pot.value)
        voters = epochs.choose(overlay, self.params)
        if voters:
            epochs.begin(overlay, Epoch(0), Hash(bytes(32)), voters)
        self.base.apply(overlay)
        self.genesis = dict(self.base.encoded)
        self.view = Overlay(self.base)

    # -- blocks

    def context(self, height: int) -> BlockContext:
        return BlockContext(
            chain_id=self.chain_id,
            height=Height(height),
            epoch=epoch_of(Height(height), self.params),
            timestamp_ms=TimeMs(1_000_000 + 1_000 * height),
            proposer=address_of("proposer"),
            beacon=Hash(sha256(b"beacon" + height.to_bytes(8, "big")).digest()),
            params=self.params,
            base_fee=self.params.base_fee_initial,
        )

    def order(self, who: str, body: BodyBase, **changes: object) -> Transaction:
        """A transaction with the sender's next nonce, which this counts."""
        nonce = self.nonces.get(who, 0)
        self.nonces[who] = nonce + 1
        made = unsigned(
            chain_id=self.chain_id,
            sender=address_of(who),
            nonce=nonce,
            valid_until=Height(self.height + 1_000),
            max_fee=Amount(OMNIT),
            tip=Amount(3),
            body=body,  # type: ignore[arg-type] # a member of the union
            signer=key_of(who),
        )
        return replace(made, **changes)

    def send(self, who: str, body: BodyBase) -> None:
        self.queue.append(self.order(who, body))

    def block(self) -> Outcome:
        """Executes what is queued as the next block, and checks that no unit was made or lost."""
        self.height += 1
        ctx = self.context(self.height)
        transactions, self.queue = tuple(self.queue), []
        execution = Execution(self.view, ctx)
        for transaction in transactions:
            if self.check_every_transaction:
                apply_watched(execution, transaction)
            else:
                execution.apply(prepare(transaction))
        outcome = execution.finish()
        self.played.append(Played(ctx, transactions))
        self.receipts += outcome.result.receipts
        for receipt in outcome.result.receipts:
            self.events += [(self.height, event) for event in receipt.events]
        self.events += [(self.height, event) for event in outcome.result.events]
        self.base.apply(self.view)
        self.view = Overlay(self.base)
        if self.check_every_block:
            check_books(self)
        return outcome

    def blocks(self, count: int) -> None:
        for _ in range(count):
            self.block()

    def do(self, who: str, body: BodyBase) -> Receipt:
        """One order in a block of its own."""
        self.send(who, body)
        return self.block().result.receipts[-1]

    def said(self, kind: str) -> list[dict[str, int | str | bytes]]:
        return [dict(event.fields) for _, event in self.events if event.kind == kind]

    # -- what people do

    def open(self, spec: CampaignSpec = SPEC, budget: int = 10_000 * OMNIT, sponsor: str = "sponsor") -> int:
        receipt = self.do(sponsor, CampaignOpen(spec, Amount(budget)))
        assert receipt.ok, receipt
        return int(dict(receipt.events[0].fields)["campaign"])

    def commitment(self, who: str, campaign: int, declared: tuple[ItemDeclaration, ...], salt: Hash) -> Hash:
        return submission_commitment(self.chain_id, campaign, items_root(declared), address_of(who), salt)

    def commit(self, who: str, campaign: int, declared: tuple[ItemDeclaration, ...], salt: Hash) -> Hash:
        commitment = self.commitment(who, campaign, declared, salt)
        self.send(who, SubmissionCommit(campaign, commitment, len(declared)))  # type: ignore[arg-type] # an id
        return commitment

    def reveal(self, who: str, campaign: int, declared: tuple[ItemDeclaration, ...], salt: Hash) -> None:
        commitment = self.commitment(who, campaign, declared, salt)
        self.send(who, SubmissionReveal(campaign, commitment, salt, declared))  # type: ignore[arg-type] # an id

    def submit(self, who: str, campaign: int, *declared: ItemDeclaration) -> Receipt:
        """Commits and reveals, in two blocks."""
        salt = salt_of(who, campaign, self.height)
        self.commit(who, campaign, declared, salt)
        assert self.block().result.receipts[-1].ok
        self.reveal(who, campaign, declared, salt)
        return self.block().result.receipts[-1]

    def send_commit(self, who: str, number_: int, scores: tuple[ItemScore, ...]) -> None:
        batch = self.batch(number_)
        salt, report = salt_of(who, number_), encode_report(scores)
        made = report_commitment(self.chain_id, number_, batch.round, address_of(who), salt, report)  # type: ignore[arg-type] # an id
        self.send(who, ReportCommit(number_, batch.round, made, b"sealed"))  # type: ignore[arg-type] # an id

    def send_reveal(self, who: str, number_: int, scores: tuple[ItemScore, ...]) -> None:
        batch = self.batch(number_)
        self.send(who, ReportReveal(number_, batch.round, salt_of(who, number_), encode_report(scores)))  # type: ignore[arg-type] # an id

    # -- what is there

    def name_of(self, address: Address) -> str:
        names = (*self.people, *self.validator_names, "proposer")
        return next(name for name in names if address_of(name) == address)

    def balance(self, who: str) -> int:
        return account(self.view, address_of(who)).balance

    def campaign(self, number_: int) -> Campaign:
        row = self.view.get(CAMPAIGNS, number_)
        assert row is not None
        return row

    def item(self, number_: int) -> Item:
        row = self.view.get(ITEMS, number_)
        assert row is not None
        return row

    def batch(self, number_: int) -> Batch:
        row = self.view.get(BATCHES, number_)
        assert row is not None
        return row

    def open_batches(self) -> list[int]:
        return [number(key) for key, row in self.view.scan(BATCHES) if row.phase != BatchPhase.DONE]

    def seats(self, number_: int, *states: SeatState) -> list[str]:
        """Names of those whose seats are in one of the states, in the order drawn."""
        batch = self.batch(number_)
        found = []
        for address in batch.seats:
            seat = self.view.get(SEATS, number_, batch.round, address)
            assert seat is not None
            if seat.state in states:
                found.append(self.name_of(address))
        return found

    def replayed(self) -> dict[bytes, bytes]:
        """The rows after executing every block again, from genesis, in one overlay a block."""
        base = DictBase()
        base.encoded = dict(self.genesis)
        for played in self.played:
            view = Overlay(base)
            execution = Execution(view, played.ctx)
            for transaction in played.transactions:
                execution.apply(prepare(transaction, encode(transaction)))
            execution.finish()
            base.apply(view)
        return base.encoded


def apply_watched(execution: Execution, transaction: Transaction) -> Receipt:
    """Executes one transaction: no unit is made or lost, and a refused one changes its sender's fee and nonce alone."""
    view = execution.view
    before = {prefix: dict(rows) for prefix, rows in view.changes_by_table().items()}
    sender = view.get(ACCOUNTS, transaction.sender) or Account(Amount(0), 0)
    receipt = execution.apply(prepare(transaction))
    assert sum(row.amount for _, row in view.scan(POTS)) == SUPPLY_MAX
    in_accounts = sum(row.balance for _, row in view.scan(ACCOUNTS))
    pot = view.get(POTS, Pot.ACCOUNTS.value)
    assert pot is not None
    assert in_accounts + execution.burning + execution.tips == pot.amount
    if not receipt.ok:
        assert receipt.reason
        rest = Account(Amount(sender.balance - receipt.fee - receipt.tip), sender.nonce + 1)
        assert view.get(ACCOUNTS, transaction.sender) == rest
        after = {prefix: dict(rows) for prefix, rows in view.changes_by_table().items()}
        for rows in (before, after):
            rows.setdefault(ACCOUNTS.prefix, {}).pop(transaction.sender, None)
        assert {p: rows for p, rows in after.items() if rows} == {
            p: rows for p, rows in before.items() if rows
        }
    return receipt


def check_books(world: World) -> None:
    """Sums every row: supply, stake, what seats hold, every campaign's escrow, every bond; and nothing outlives its campaign."""
    view = world.view
    check_everything(view)
    pots = {pot: (row.amount if (row := view.get(POTS, pot.value)) else 0) for pot in Pot}
    campaigns = dict(view.scan(CAMPAIGNS))
    assert pots[Pot.ESCROW] == sum(row.escrow.total for row in campaigns.values())
    items = [row for _, row in view.scan(ITEMS)]
    open_submissions = [row for _, row in view.scan(SUBMISSIONS) if row.status == 0]
    gold = sum((row.count - row.returned - row.taken) * row.bond_each for _, row in view.scan(GOLD_SETS))
    appeals = sum(row.bond for _, row in view.scan(APPEALS))
    submitted = sum(row.count * row.item_bond for row in open_submissions)
    assert pots[Pot.BONDS] == sum(item.bond for item in items) + submitted + gold + appeals
    open_by_account: dict[bytes, int] = {}
    for row in open_submissions:
        open_by_account[row.contributor] = open_by_account.get(row.contributor, 0) + 1
    assert open_by_account == {key: row.number for key, row in view.scan(SUBMISSIONS_OPEN)}
    for key, campaign in campaigns.items():
        mine = [item for item in items if item.campaign == number(key)]
        escrow = campaign.escrow
        assert min(escrow.available, escrow.reward, escrow.review, escrow.escalation) >= 0
        assert escrow.reward == sum(item.reward_reserved for item in mine)
        assert escrow.review == sum(item.review_reserved for item in mine)
        assert escrow.escalation == sum(item.escalation_reserved for item in mine)
        counts = campaign.counts
        assert counts.submitted == len(mine)
        by_status = [sum(item.status == status for item in mine) for status in ItemStatus]
        assert by_status == [
            0,
            counts.queued,
            counts.in_review,
            counts.accepted,
            counts.rejected,
            counts.undecided,
            counts.paid,
            counts.escalated,
        ]
        rejected_open = [item for item in mine if item.status == ItemStatus.REJECTED and item.open_verdict]
        assert campaign.rejections_open == len(rejected_open)
        assert campaign.funded + campaign.penalties == (
            escrow.total + campaign.paid_contributors + campaign.paid_reviewers + campaign.refunded
        )
        if campaign.status in (CampaignStatus.CLOSED, CampaignStatus.EXPIRED, CampaignStatus.CANCELLED):
            assert escrow.total == 0
            assert sum(item.bond for item in mine) == 0
    held: dict[bytes, int] = {}
    for key, seat in view.scan(SEATS):
        assert (seat.bond > 0) <= (seat.state in SEATS_LIVE)
        held[key[16:]] = held.get(key[16:], 0) + seat.bond
    for key, validator in view.scan(VALIDATORS):
        assert validator.held == held.get(key, 0)
        assert validator.held <= validator.stake


def review(world: World, scores: dict[str, ItemScore] | ItemScore = GOOD, blocks: int = 40) -> None:
    """Plays every open batch to its verdict: all who sit commit, then reveal, the same score for each item."""

    def of(name: str) -> ItemScore:
        return scores.get(name, GOOD) if isinstance(scores, dict) else scores

    for _ in range(blocks):
        for number_ in world.open_batches():
            batch = world.batch(number_)
            if batch.phase == BatchPhase.COMMIT:
                for name in world.seats(number_, SeatState.SEATED, SeatState.ACCEPTED):
                    world.send_commit(name, number_, (of(name),) * len(batch.items))
            elif batch.phase == BatchPhase.REVEAL:
                for name in world.seats(number_, SeatState.COMMITTED):
                    world.send_reveal(name, number_, (of(name),) * len(batch.items))
        world.block()
        if not world.open_batches() and not any(True for _ in world.view.scan(DUE)):
            return
