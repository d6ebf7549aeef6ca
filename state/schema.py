"""Every key prefix of the database on one page, as typed tables. Names rows; reads and writes none.

A key is the table's prefix byte, then its parts in order: byte strings of a fixed width, or integers as eight bytes
big-endian, so that rows lie in the order of their numbers. Three kinds of table share the database:

- *state*: committed to by the state root in every header. Only the ledger writes it.
- *index*: derived from the state's history for readers, written in the same batch, outside the root. The ledger may write
  it through its view and never reads it.
- *chain*: blocks, receipts, proofs, the head, and the trees that the roots in headers are of. Only ``chain`` writes it.
"""

from enum import Enum
from typing import Any, Final, Generic, TypeVar

from omnitensor.protocol import rows, rows_review, rows_season, rows_work
from omnitensor.protocol.blocks import Block, Event
from omnitensor.protocol.bodies import PrivateItem
from omnitensor.protocol.codec import Record
from omnitensor.protocol.params import Params
from omnitensor.protocol.votes import FinalityProof
from omnitensor.protocol.workers import WorkerSet
from state.records import (
    Account,
    BlockEvents,
    Conviction,
    Counter,
    GenesisRow,
    HashRow,
    HeadRow,
    HeightRow,
    IndexRebuild,
    Multisig,
    PageRow,
    PlacedReceipt,
    PotTotal,
    SessionKey,
    StepRow,
    TransactionRef,
    Unbonding,
    Unit,
    Validator,
    ValidatorSet,
    Vault,
)
from state.records_attendance import Downtime, EpochAttendance
from state.records_governance import (
    Deposit,
    Overrides,
    ParameterOrigin,
    PlannedUpgrade,
    Proposal,
    Vote,
)
from state.records_privacy import Grant, ReadingKeyRow, SealedSeat
from state.records_review import (
    Appeal,
    Batch,
    Campaign,
    Count,
    Due,
    Earnings,
    GoldSet,
    Holder,
    Item,
    QueuedItem,
    Reviewer,
    Seat,
    Submission,
)
from state.records_season import Badge, Career, Competition, Payout, Season, Standing
from state.records_stake import (
    Delegation,
    EpochReviews,
    Redelegation,
    RewardIndex,
    StakePool,
    Undelegation,
)
from state.records_work import (
    Attests,
    Challenge,
    Findings,
    ItemFingerprint,
    ItemScores,
    Job,
    ModelSeen,
    ShownOutputs,
    WorkCredit,
    WorkEpoch,
    Worker,
    WorkerList,
    WorkReceipt,
    WorkUnit,
)

V = TypeVar("V", bound=Record)

KeyPart = bytes | int

SCHEMA_VERSION: Final = 7
"""How rows of the state are encoded, stamped into a database. Another number is another chain, since the state root is over
the encodings: it is never opened as this one, and never migrated."""
LAYOUT_VERSION: Final = 2
"""How a node keeps its own tables (of kind *chain* and *index*), stamped as well. Older ones are migrated when the database is
opened (``state.migration``), newer ones refused."""


class Kind(Enum):
    """What a table is for; see the module's docstring."""

    STATE = "state"
    INDEX = "index"
    CHAIN = "chain"


class Table(Generic[V]):
    """A typed table: one prefix byte, the type of its values, a name for people, and the widths of its key's parts in bytes.

    A width of 0 stands for a part of any length, which must be the last.
    """

    prefix: Final[int]
    prefix_bytes: Final[bytes]
    value_type: type[V]
    name: Final[str]
    parts: Final[tuple[int, ...]]
    key_bytes: Final[int]
    """Length of a whole key without the prefix byte; 0 where its last part has any length."""
    kind: Final[Kind]

    __slots__ = ("key_bytes", "kind", "name", "parts", "prefix", "prefix_bytes", "value_type")

    def __init__(
        self,
        prefix: int,
        value_type: type[V],
        name: str,
        parts: tuple[int, ...],
        kind: Kind = Kind.STATE,
    ) -> None:
        assert 0 < prefix < 256, prefix
        assert all(parts[:-1]), "only the last part of a key may be of any length"
        assert prefix not in TABLES, f"tables {name} and {TABLES[prefix].name} have one prefix"
        self.prefix = prefix
        self.prefix_bytes = bytes([prefix])
        self.value_type = value_type
        self.name = name
        self.parts = parts
        self.key_bytes = sum(parts) if parts[-1] else 0
        self.kind = kind
        TABLES[prefix] = self

    def key(self, *parts: KeyPart) -> bytes:
        """The key without the prefix byte, of all parts or the first few (a prefix to scan)."""
        return join_key(parts)

    def full_key(self, *parts: KeyPart) -> bytes:
        return self.prefix_bytes + join_key(parts)

    def split(self, suffix: bytes) -> tuple[bytes, ...]:
        """The parts of a key without the prefix byte, as bytes."""
        found: list[bytes] = []
        place = 0
        for width in self.parts:
            found.append(suffix[place : place + width] if width else suffix[place:])
            place += width
        return tuple(found)

    def __repr__(self) -> str:
        return f"Table({self.name})"


TABLES: Final[dict[int, Table[Any]]] = {}
"""Every table by prefix."""


def join_key(parts: tuple[KeyPart, ...]) -> bytes:
    """Key bytes of parts: byte strings as they are, integers as eight bytes big-endian."""
    if len(parts) == 1:
        part = parts[0]
        return part if isinstance(part, bytes) else part.to_bytes(8, "big")
    return b"".join([part if isinstance(part, bytes) else part.to_bytes(8, "big") for part in parts])


def number(part: bytes) -> int:
    """The integer in an eight-byte part of a key."""
    return int.from_bytes(part, "big")


ADDRESS: Final = 33
HASH: Final = 32
KEY: Final = 32
BLS_KEY: Final = 48
PLACE: Final = 33
INT: Final = 8
REST: Final = 0

# -- chain (0x01 .. 0x0f)
HEAD = Table(0x01, HeadRow, "head", (REST,), Kind.CHAIN)
"""One row under the empty key."""
BLOCKS = Table(0x02, Block, "blocks", (INT,), Kind.CHAIN)
"""By height."""
HEIGHTS = Table(0x03, HeightRow, "heights", (HASH,), Kind.CHAIN)
"""By block hash."""
PROOFS = Table(0x04, FinalityProof, "proofs", (INT,), Kind.CHAIN)
"""By height; blocks that became final with a block above them have none."""
RECEIPTS = Table(0x05, PlacedReceipt, "receipts", (HASH,), Kind.CHAIN)
"""By transaction id."""
BLOCK_EVENTS = Table(0x06, BlockEvents, "block events", (INT,), Kind.CHAIN)
"""What the steps at the end of a block said, by height."""
TRANSACTIONS_BY_ADDRESS = Table(
    0x07, TransactionRef, "transactions by address", (ADDRESS, INT, INT), Kind.CHAIN
)
"""By address (sender, and whomever its events name), height, place in the block."""
GENESIS = Table(0x08, GenesisRow, "genesis", (REST,), Kind.CHAIN)
"""One row under the empty key."""
PAGES = Table(0x09, PageRow, "pages", (PLACE,), Kind.CHAIN)
"""The trie over all rows of tables of kind *state*, by place (see ``state.trie``)."""
HISTORY = Table(0x0A, HashRow, "history", (INT, INT), Kind.CHAIN)
"""Roots of the perfect subtrees over the hashes of all blocks, by level and index; level 0 are the leaves."""
STEPS = Table(0x0B, StepRow, "steps", (INT,), Kind.CHAIN)
"""By epoch that is over: what leads a light client to the next one. Kept for ever, also where blocks are pruned."""
KEPT = Table(0x0C, HeightRow, "kept", (REST,), Kind.CHAIN)
"""One row under the empty key: the first height whose block is kept (besides genesis); no row where all are."""

# -- state: the ledger's ground (0x10 .. 0x1f)
PARAMS = Table(0x10, Params, "parameters", (REST,))
"""In force, under the empty key; what the next epoch brings, where that is something else, under ``next``."""
ACCOUNTS = Table(rows.ACCOUNTS_PREFIX, Account, "accounts", (ADDRESS,))
POTS = Table(0x12, PotTotal, "pots", (REST,))
"""By name of the pot; ``accounts`` is the sum over all accounts."""
COUNTERS = Table(0x13, Counter, "counters", (REST,))
SESSION_KEYS = Table(0x14, SessionKey, "session keys", (KEY,))
"""By session key: a key serves one account for good, so rows outlive the key's term (and have no scopes once it was removed)."""
SESSION_KEYS_BY_OWNER = Table(0x15, Unit, "session keys by owner", (ADDRESS, KEY))
"""Those that count towards the account's limit: neither removed nor dropped for being expired."""
VALIDATORS = Table(0x16, Validator, "validators", (ADDRESS,))
CONSENSUS_KEYS = Table(0x17, Unit, "consensus keys", (BLS_KEY,))
"""Every consensus key that was ever registered: none serves two validators."""
UNBONDING = Table(0x18, Unbonding, "unbonding", (INT, ADDRESS, INT))
"""By height of payment, validator, and number."""
UNBONDING_BY_VALIDATOR = Table(0x19, Unbonding, "unbonding by validator", (ADDRESS, INT, INT))
VALIDATOR_SETS = Table(0x1A, ValidatorSet, "validator sets", (INT,))
"""By epoch, from the oldest whose evidence still counts to the one above the last boundary."""
CONVICTIONS = Table(0x1B, Conviction, "convictions", (ADDRESS,))
"""By validator: each is convicted once."""
REMOVALS = Table(0x1C, Unit, "removals", (ADDRESS,))
"""Convicted validators whose seats are not all let go yet."""
OPEN_SEATS = Table(0x1D, Unit, "open seats", (ADDRESS, INT, INT))
"""Seats that hold a bond, by validator, batch and round."""
MULTISIGS = Table(rows.MULTISIGS_PREFIX, Multisig, "multisignature accounts", (ADDRESS,))
"""Those that have ordered something; an address alone says nothing of its members."""
VAULTS = Table(rows.VAULTS_PREFIX, Vault, "vaults", (ADDRESS,))

# -- state: campaigns, submissions, reviews (0x20 .. 0x4f)
CAMPAIGNS = Table(rows.CAMPAIGNS_PREFIX, Campaign, "campaigns", (INT,))
SUBMISSIONS = Table(0x21, Submission, "submissions", (INT, HASH, ADDRESS))
"""By campaign, commitment and contributor: whoever copies another's commitment blocks nobody, and can never reveal it."""
SUBMISSIONS_OPEN = Table(0x22, Count, "open submissions", (ADDRESS,))
"""How many commitments of an account are neither revealed nor expired."""
CONTRIBUTORS = Table(0x23, Count, "contributors", (INT, ADDRESS))
"""Items of an account that a campaign admitted, by campaign and account."""
ITEMS = Table(rows.ITEMS_PREFIX, Item, "items", (INT,))
CONTENT_ROOTS = Table(0x25, Holder, "content by chunk root", (INT, HASH))
"""Whose a content is, by campaign and chunk root."""
CONTENT_DIGESTS = Table(0x26, Holder, "content by SHA-256", (INT, HASH))
QUEUE = Table(0x27, QueuedItem, "queue", (INT, INT))
"""Items that wait for a batch, by campaign and item."""
BATCHES = Table(rows_review.BATCHES_PREFIX, Batch, "batches", (INT,))
SEATS = Table(rows_review.SEATS_PREFIX, Seat, "seats", (INT, INT, ADDRESS))
"""By batch, round and validator."""
REVIEWERS = Table(0x2A, Reviewer, "reviewers", (ADDRESS,))
EARNINGS = Table(0x2B, Earnings, "earnings", (ADDRESS,))
DUE = Table(0x2C, Due, "due", (INT, INT, INT))
"""What to look at, by height, DueKind, and id."""
APPEALS = Table(0x2D, Appeal, "appeals", (INT,))
"""By item: each is appealed once."""
GOLD_SETS = Table(0x2E, GoldSet, "gold sets", (INT,))
"""By campaign."""
GOLD_USED = Table(0x2F, Unit, "used gold", (INT, INT))
"""By campaign and index in its tree: each serves once."""

# -- state: delegated stake and rewards (0x30 .. 0x35, 0x60 .. 0x63)
DELEGATIONS = Table(rows.DELEGATIONS_PREFIX, Delegation, "delegations", (ADDRESS, ADDRESS))
"""By delegator and validator."""
UNDELEGATIONS = Table(0x31, Undelegation, "undelegations", (ADDRESS, ADDRESS, INT))
"""By delegator, validator, and number."""
REDELEGATIONS = Table(0x32, Redelegation, "redelegations", (ADDRESS, ADDRESS, INT))
"""By delegator, the validator that it went to, and number."""
MATURITIES = Table(0x33, Unit, "maturities", (INT, ADDRESS, ADDRESS, INT))
"""Undelegations and redelegations by height of their end, then as in their own tables."""
STAKE_POOLS = Table(0x34, StakePool, "stake pools", (ADDRESS,))
"""By validator."""
REWARD_INDEXES = Table(0x35, RewardIndex, "reward indexes", (ADDRESS, INT))
"""By validator and epoch; only those that a delegation still has to read."""
EPOCH_REVIEWS = Table(0x60, EpochReviews, "epoch reviews", (ADDRESS,))
"""By validator."""
ADMITTED = Table(0x61, Unit, "admitted", (ADDRESS,))
"""Accounts that governance lets register as validators, where it decides."""
JOBS_OPEN = Table(0x62, Count, "open jobs", (ADDRESS,))
"""How many jobs of an account have not ended."""
# -- state: attendance (0x36 .. 0x37)
ATTENDANCE = Table(0x36, EpochAttendance, "attendance", (INT,))
"""By epoch, for as long as its validator set is kept."""
DOWNTIME = Table(0x37, Downtime, "downtime", (ADDRESS,))
"""Validators that are absent, or in jail."""

# -- state: governance (0x38 .. 0x3f)
PROPOSALS = Table(0x38, Proposal, "proposals", (INT,))
DEPOSITS = Table(0x39, Deposit, "deposits", (INT, ADDRESS))
"""By proposal and depositor, until they are returned or burned."""
VOTES = Table(0x3A, Vote, "votes", (INT, ADDRESS))
"""By proposal and voter."""
OVERRIDES = Table(0x3B, Overrides, "overrides", (INT, ADDRESS))
"""By proposal and validator."""
OPEN_PROPOSALS = Table(0x3C, Unit, "open proposals", (INT, INT))
"""By status and number: those that wait for their deposit, are voted on, or wait for their execution."""
PROPOSALS_DUE = Table(0x3D, Unit, "proposals due", (INT, INT, INT))
"""By height, status and number: what to do with a proposal that is still in that status."""
UPGRADES = Table(0x3E, PlannedUpgrade, "upgrades", (INT,))
"""By the first height that needs it, past ones too."""
PARAMETER_ORIGINS = Table(0x3F, ParameterOrigin, "parameter origins", (REST,))
"""By name; those that genesis set have none."""

# -- state: seasons (0x40 .. 0x47)
SEASONS = Table(rows_season.SEASONS_PREFIX, Season, "seasons", (INT,))
STANDINGS = Table(rows_season.STANDINGS_PREFIX, Standing, "standings", (INT, INT, ADDRESS))
"""By board (a Role and a season, or 3 and a campaign) and account."""
LEADERBOARDS = Table(0x42, Unit, "leaderboards", (INT, INT, INT, ADDRESS))
"""By board, 2**64 - 1 less the value, and account: so that the first come first."""
BADGES = Table(rows_season.BADGES_PREFIX, Badge, "badges", (ADDRESS, INT, INT))
"""By account, BadgeKind, and the season or competition that it is for."""
COMPETITIONS = Table(rows_season.COMPETITIONS_PREFIX, Competition, "competitions", (INT,))
COMPETITIONS_BY_CAMPAIGN = Table(0x45, Unit, "competitions by campaign", (INT, INT))
PAYOUTS = Table(0x46, Payout, "payouts", (INT, INT, INT))
"""What is owed to winners, by height, PayoutKind and id."""
CAREERS = Table(rows_season.CAREERS_PREFIX, Career, "careers", (ADDRESS,))

# -- state: work (0x50 .. 0x5f)
WORKERS = Table(rows_work.WORKERS_PREFIX, Worker, "workers", (ADDRESS,))
"""Until their bond returned."""
WORKER_SETS = Table(0x51, WorkerSet, "worker sets", (INT,))
"""By epoch: whose work draws its leaders, for as long as its validator set is kept; none where no work was credited."""
WORK_CREDIT = Table(0x52, WorkCredit, "work credit", (INT, ADDRESS))
"""By epoch and worker, for the epoch under way and the last one."""
JOBS = Table(rows_work.JOBS_PREFIX, Job, "jobs", (HASH,))
WORK_RECEIPTS = Table(rows_work.WORK_RECEIPTS_PREFIX, WorkReceipt, "work receipts", (HASH, INT, ADDRESS))
"""By job, unit and worker."""
FINDINGS = Table(0x55, Findings, "findings", (HASH, INT, ADDRESS))
"""Votes on a receipt, likewise, while it is judged."""
ATTESTS = Table(0x56, Attests, "attests", (HASH,))
"""Votes on a job's bytes, until it is open."""
MODELS_SEEN = Table(0x57, ModelSeen, "models", (HASH,))
"""By root."""
FINGERPRINTS = Table(0x58, ItemFingerprint, "fingerprints", (INT, INT))
"""By campaign and item."""
ITEM_SCORES = Table(0x59, ItemScores, "item scores", (INT,))
"""By item."""
CHALLENGES = Table(0x5A, Challenge, "challenges", (HASH, INT, ADDRESS))
"""By job, unit and worker, while votes are taken anew."""
WORK_DUE = Table(0x5B, Unit, "work due", (INT, INT, HASH, INT, ADDRESS))
"""What to look at, by height, WorkDue, job, unit and worker; what an entry has not is zero."""
WORKER_LISTS = Table(0x5C, WorkerList, "worker lists", (INT,))
"""By epoch: the one under way, and the last one."""
WORK_UNITS = Table(0x5D, WorkUnit, "units", (HASH, INT))
"""By job and unit."""
WORK_OUTPUTS = Table(0x5E, ShownOutputs, "work outputs", (HASH, INT, ADDRESS))
"""By job, unit and worker, for as long as the receipt."""
WORK_EPOCHS = Table(0x5F, WorkEpoch, "work epochs", (INT,))

# -- state: private campaigns (0x64 .. 0x67)
READING_KEYS = Table(0x64, ReadingKeyRow, "reading keys", (ADDRESS,))
"""By validator."""
PRIVATE_ITEMS = Table(rows.PRIVATE_ITEMS_PREFIX, PrivateItem, "private items", (INT,))
"""By item."""
SEALED_SEATS = Table(0x66, SealedSeat, "sealed seats", (INT, ADDRESS))
"""By batch and validator, until the batch is done."""
GRANTS = Table(0x67, Grant, "grants", (INT, INT, ADDRESS))
"""By batch, item and validator, until the batch is done."""

WORKER_CONVICTIONS = Table(0x68, Conviction, "worker convictions", (ADDRESS, INT))
"""By worker and epoch: each is convicted once an epoch."""

# -- indexes (0x80 .. 0x9f)
EVENTS_BY_ADDRESS = Table(0x80, Event, "block events by address", (ADDRESS, INT, INT), Kind.INDEX)
"""Events of blocks themselves (draws, verdicts, pay) that name an address: by address, height, number in the block."""
CAMPAIGNS_BY_SPONSOR = Table(0x81, Unit, "campaigns by sponsor", (ADDRESS, INT), Kind.INDEX)
SUBMISSIONS_BY_CONTRIBUTOR = Table(0x82, Unit, "submissions by contributor", (ADDRESS, INT, HASH), Kind.INDEX)
"""By contributor, campaign, commitment."""
CAMPAIGNS_BY_CONTENT = Table(0x95, Unit, "campaigns by specification and model", (HASH, INT), Kind.INDEX)
"""By chunk root of the document that a campaign names, and campaign."""
ITEMS_BY_CAMPAIGN = Table(0x83, Unit, "items by campaign", (INT, INT), Kind.INDEX)
ITEMS_BY_CONTRIBUTOR = Table(0x84, Unit, "items by contributor", (ADDRESS, INT), Kind.INDEX)
ITEMS_BY_CONTENT = Table(0x85, Unit, "items by content", (HASH, INT), Kind.INDEX)
"""By chunk root and item, over all campaigns."""
BATCHES_BY_CAMPAIGN = Table(0x86, Unit, "batches by campaign", (INT, INT), Kind.INDEX)
SEATS_BY_VALIDATOR = Table(0x87, Unit, "seats by validator", (ADDRESS, INT, INT), Kind.INDEX)
"""By validator, batch and round."""
DELEGATIONS_BY_VALIDATOR = Table(0x88, Unit, "delegations by validator", (ADDRESS, ADDRESS), Kind.INDEX)
"""By validator and delegator."""
JOBS_BY_POSTER = Table(0x9A, Unit, "jobs by poster", (ADDRESS, HASH), Kind.INDEX)
RECEIPTS_BY_WORKER = Table(0x9B, Unit, "work receipts by worker", (ADDRESS, HASH, INT), Kind.INDEX)
"""By worker, job and unit."""
JOBS_BY_STATUS = Table(0x9C, Unit, "jobs by status", (INT, HASH), Kind.INDEX)
RECEIPTS_BY_STATE = Table(0x9D, Unit, "work receipts by state", (INT, HASH, INT, ADDRESS), Kind.INDEX)
"""By ReceiptState, job, unit and worker."""
JOBS_BY_CONTENT = Table(0x9E, Unit, "jobs by content", (HASH, HASH), Kind.INDEX)
"""By chunk root of model or data, and job."""
OUTPUTS_BY_CONTENT = Table(0x9F, Unit, "work outputs by content", (HASH, HASH, INT, ADDRESS), Kind.INDEX)
"""By chunk root, job, unit and worker."""
INDEX_REBUILD = Table(0x96, IndexRebuild, "index rebuild", (REST,), Kind.CHAIN)
"""One row under the empty key while the indexes are made anew (see ``state.indexing``); without it they are whole."""
VOTES_BY_VOTER = Table(0x8C, Unit, "votes by voter", (ADDRESS, INT), Kind.INDEX)
"""By voter and proposal."""
VAULTS_BY_HOLDER = Table(0x8F, Unit, "vaults by holder", (ADDRESS, ADDRESS), Kind.INDEX)
SEATS_TO_GRANT = Table(0x97, Unit, "seats to grant", (ADDRESS, INT, ADDRESS), Kind.INDEX)
"""By whoever may give keys, batch and validator, until the batch is done."""
