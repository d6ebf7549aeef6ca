"""Light client: follows a chain's voters from a trusted block to now, and checks what hangs on a final header.

One step an epoch: the epoch's last header, why it is final, and who votes next. Then rows, receipts and older blocks against
the roots of a header. Knows the records of the protocol; keeps no chain, asks nobody, has no clock, and trusts only the block
that it is given. What a proof can't show raises ProofError, which names the check that failed.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from msgspec import Meta

from omnitensor.protocol import bls, merkle
from omnitensor.protocol.blocks import Block, Event, Header, Receipt, transactions_root
from omnitensor.protocol.codec import Record, encode
from omnitensor.protocol.conviction import EvidenceError, convicted
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.evidence import Evidence
from omnitensor.protocol.limits import block_transactions_max, light_clock_ahead_ms_max, validators_max
from omnitensor.protocol.merkle import Inclusion as Inclusion
from omnitensor.protocol.params import Params
from omnitensor.protocol.state_proof import StateProof, proves_absence, proves_presence
from omnitensor.protocol.transactions import Transaction, transaction_id
from omnitensor.protocol.types import U64_MAX, Address, Epoch, Hash, Height
from omnitensor.protocol.votes import FinalityProof, ValidatorEntry, ValidatorTable, VoteKind

PATH_HASHES_MAX: Final = 64
"""Siblings in a Merkle path: trees of more leaves do not exist."""
_REMEDY: Final = "ask another node; this one sent something that is not so"


class ProofError(ProtocolError):
    """A proof that does not show what it should."""

    code = "proof"


class TrustError(ProofError):
    """A trusted block that is too old to be trusted, or of the future. No node's fault."""

    code = "trust"


class CheckpointError(ProtocolError):
    """Text that is no checkpoint."""

    code = "checkpoint"


def trust_period_ms(params: Params) -> int:
    """For how long the voters that a block names can be believed: as long as they can be punished for what they sign.

    That is until they have their stake back, or until the chain forgets that they were voters, whichever comes first. One epoch
    less than for a boundary: any block may be trusted, and its epoch may be nearly over.
    """
    held = min(params.unbonding_blocks, params.evidence_epochs * params.epoch_blocks)
    return held * params.block_interval_ms


TRUST_PERIOD_MS: Final = trust_period_ms(Params())
"""With the default parameters: two weeks, less one epoch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A final block that somebody trusts, written ``height:hash``. Any will do; ``0:<genesis hash>`` is the chain's beginning."""

    height: Height
    block_hash: Hash

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises CheckpointError."""
        height, colon, digits = text.strip().lower().partition(":")
        digits = digits.removeprefix("0x")
        sound = colon and _is_number(height) and len(digits) == 2 * merkle.HASH_BYTES
        if not (sound and all(digit in "0123456789abcdef" for digit in digits)):
            raise CheckpointError(
                "not a checkpoint",
                value=text,
                remedy="write it as height:hash, the hash as 64 hexadecimal digits",
            )
        return cls(Height(int(height)), Hash(bytes.fromhex(digits)))

    def __str__(self) -> str:
        return f"{self.height}:{self.block_hash.hex()}"


class Step(Record, frozen=True):
    """What leads from one epoch to the next."""

    header: Header
    """Of the epoch's last block, its boundary."""
    proof: FinalityProof
    """Of that block, or of a filler above it, which names the same block."""
    voters: Annotated[tuple[ValidatorEntry, ...], Meta(max_length=validators_max)] | None
    """The next epoch's. None: the same, with the same keys and weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class TrustedPoint:
    """A header that is trusted, and the voters of the block above it, whom it names. Can't be built of others: ProofError."""

    header: Header
    table: ValidatorTable = dataclasses.field(compare=False)

    def __post_init__(self) -> None:
        header, table = self.header, self.table
        _require(
            header.next_validators_hash == table.hash,
            "the next voters are not those that the header names",
            table.hash,
        )
        _require(
            table.epoch == header.epoch + is_last_of_epoch(header),
            "the voters are of another epoch than the header's next block",
            table.epoch,
        )

    @property
    def height(self) -> Height:
        return self.header.height

    @property
    def epoch(self) -> Epoch:
        """Of the block above: the one whose voters are known."""
        return self.table.epoch

    @property
    def checkpoint(self) -> Checkpoint:
        """To be written down, and begun with another time."""
        return Checkpoint(self.header.height, self.header.hash)


def begin(header: Header, table: ValidatorTable, trusted: Checkpoint, chain_id: str) -> TrustedPoint:
    """Where to begin: the header of a block that the caller trusts, and the voters above it. Raises ProofError."""
    _require(header.hash == trusted.block_hash, "not the block of the checkpoint", header.hash)
    _require(header.height == trusted.height, "the checkpoint's hash is of another height", header.height)
    _require(header.chain_id == chain_id, "the checkpoint is of another chain", header.chain_id)
    return TrustedPoint(header, table)


def advance(
    point: TrustedPoint, step: Step, *, now_ms: int, period_ms: int = TRUST_PERIOD_MS
) -> TrustedPoint:
    """One epoch further: the step's header, which the known voters made final, and the voters that it names. Raises ProofError.

    ``now_ms``: the caller's clock. ``period_ms``: for how long voters are believed (`trust_period_ms`).
    """
    header = step.header
    _require(
        header.epoch == point.epoch, "not the step that comes next: it is of another epoch", header.epoch
    )
    _require(is_last_of_epoch(header), "the step's header is not its epoch's last", header.height)
    epoch_blocks, rest = divmod(header.height, header.epoch + 1)
    below = header.epoch * epoch_blocks
    begins = point.height == below if _is_root(point.header) else below < point.height
    _require(rest == 0 and begins, "the header's height is not its epoch's last", header.height)
    entries = point.table.entries if step.voters is None else step.voters
    try:
        table = ValidatorTable(Epoch(point.epoch + 1), entries)
    except ProtocolError as error:
        raise ProofError(error.reason, value=error.value, remedy=_REMEDY) from error
    following = TrustedPoint(header, table)
    check_final(point, header, step.proof, now_ms=now_ms, period_ms=period_ms)
    return following


def advance_all(
    point: TrustedPoint, steps: Iterable[Step], *, now_ms: int, period_ms: int = TRUST_PERIOD_MS
) -> TrustedPoint:
    """Many steps in order; all are taken or none. Raises ProofError."""
    for step in steps:
        point = advance(point, step, now_ms=now_ms, period_ms=period_ms)
    return point


def check_final(
    point: TrustedPoint,
    header: Header,
    proof: FinalityProof,
    *,
    now_ms: int,
    period_ms: int = TRUST_PERIOD_MS,
) -> Hash:
    """The hash of a final header above a trusted one, in the epoch whose voters are known. Raises ProofError."""
    check_trusted(point, now_ms=now_ms, period_ms=period_ms)
    _require(header.chain_id == point.header.chain_id, "the header is of another chain", header.chain_id)
    _require(header.height > point.height, "the header is not above the trusted one", header.height)
    block_hash = check_finality(header, proof, point.table)
    if header.height == point.height + 1:
        _require(header.parent == point.header.hash, "the header stands on another block", header.parent)
    if point.height and _is_root(point.header):
        boundary = point.height + point.height // point.epoch
        _require(header.height <= boundary, "the header's height is not in its epoch", header.height)
        _require(
            (header.height == boundary) == is_last_of_epoch(header),
            "the header names the voters of another epoch than its height's",
            header.height,
        )
    _require(
        header.timestamp_ms >= point.header.timestamp_ms,
        "the header is older than the trusted one below it",
        header.timestamp_ms,
    )
    _require(
        header.timestamp_ms <= now_ms + light_clock_ahead_ms_max,
        "the header is of the future, or this machine's clock is behind",
        header.timestamp_ms,
    )
    return block_hash


def check_trusted(point: TrustedPoint, *, now_ms: int, period_ms: int = TRUST_PERIOD_MS) -> None:
    """That the voters above a trusted block still have what they would lose by lying. Raises TrustError.

    Later they could make any chain final at no cost, and nothing in it would show that it is not this one.
    """
    age_ms = now_ms - point.header.timestamp_ms
    if age_ms >= period_ms:
        raise TrustError(
            f"the trusted block is {_span(age_ms)} old, and is trusted for {_span(period_ms)}",
            value=point.checkpoint,
            remedy="begin with a newer checkpoint (height:hash) from somebody whom you trust",
        )
    if -age_ms > light_clock_ahead_ms_max:
        raise TrustError(
            "the trusted block is of the future",
            value=point.checkpoint,
            remedy="set this machine's clock",
        )


def is_last_of_epoch(header: Header) -> bool:
    """Whether other voters follow than vote on this block: a table's hash binds its epoch, so this is so at boundaries alone."""
    return header.next_validators_hash != header.validators_hash


def check_evidence(evidence: Evidence, chain_id: str, table: ValidatorTable) -> tuple[Address, ...]:
    """Accounts of the validators whom evidence convicts, checked as the chain checks it. Raises ProofError.

    `table` is the caller's own, of the evidence's epoch.
    """
    try:
        return tuple(table.entries[index].address for index in convicted(evidence, chain_id, table))
    except EvidenceError as error:
        raise ProofError(error.reason, value=error.value, remedy=error.remedy or _REMEDY) from error


def check_finality(header: Header, proof: FinalityProof, table: ValidatorTable) -> Hash:
    """The hash of a header that a quorum of `table` made final. Raises ProofError.

    `table` is the caller's own: of genesis, or taken from a header that was checked before.
    """
    candidate, certificate = proof.candidate, proof.certificate
    block_hash = header.hash
    _require(
        header.epoch == candidate.epoch == certificate.epoch == table.epoch,
        "header, candidate, certificate and table are of different epochs",
        f"{header.epoch}, {candidate.epoch}, {certificate.epoch}, {table.epoch}",
    )
    _require(header.validators_hash == table.hash, "the header names another validator table", table.hash)
    _require(candidate.block_hash == block_hash, "the candidate carries another block", candidate.block_hash)
    _require(certificate.kind == VoteKind.FINALIZE, "not a certificate of finality", int(certificate.kind))
    _require(
        certificate.candidate_id == candidate.id and certificate.view == candidate.view,
        "the certificate is of another candidate",
        certificate.candidate_id,
    )
    _check_quorum(header.chain_id, proof, table)
    return block_hash


def check_transaction(header: Header, encoded: bytes, inclusion: Inclusion) -> Hash:
    """The id of a transaction whose canonical bytes are under a header's root. Raises ProofError."""
    _check_inclusion(
        encoded, inclusion, header.transactions_root, block_transactions_max, "transaction", counted=True
    )
    return transaction_id(encoded)


def check_receipt(header: Header, receipt: Receipt, inclusion: Inclusion) -> Hash:
    """The id of the transaction that a receipt under a header's root is of. Raises ProofError.

    The tree's last leaf is the block's own events, and no receipt. An event of a transaction is proven with its receipt.
    """
    _require(inclusion.index < inclusion.size - 1, "not a receipt's place in a block", _place(inclusion))
    _check_inclusion(
        encode(receipt), inclusion, header.receipts_root, block_transactions_max + 1, "receipt", counted=True
    )
    return receipt.transaction_id


def check_events(header: Header, events: tuple[Event, ...], inclusion: Inclusion) -> None:
    """That these are the block's own events (draws, verdicts, pay), all of them in their order. Raises ProofError."""
    _require(inclusion.index == inclusion.size - 1, "not the place of a block's events", _place(inclusion))
    _check_inclusion(
        encode(events), inclusion, header.receipts_root, block_transactions_max + 1, "events", counted=True
    )


def check_row(header: Header, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """That the state after a header's block has this encoded row under a key, or no row (None). Raises ProofError.

    Make the key yourself (``omnitensor.protocol.rows``): a liar would gladly show what is under another one.
    """
    if value is None:
        _require(proves_absence(header.state_root, key, proof), "the row's absence is not shown", key)
    else:
        _require(
            proves_presence(header.state_root, key, value, proof),
            "the row is not under the header's state root",
            key,
        )


def check_ancestor(header: Header, height: int, block_hash: Hash, inclusion: Inclusion) -> None:
    """That the block of a height below a header's has this hash. Raises ProofError."""
    _require(
        inclusion.index == height and inclusion.size == header.height,
        "not that block's place in the tree over all blocks",
        f"{inclusion.index} of {inclusion.size}",
    )
    _check_inclusion(block_hash, inclusion, header.history_root, header.height, "block")


def check_block(block: Block) -> Hash:
    """The hash of a block whose transactions are those that its header binds. Raises ProofError."""
    _require(
        transactions_root(block.transactions) == block.header.transactions_root,
        "the block's transactions are not those of its header",
        block.header.height,
    )
    return block.hash


def find_transaction(block: Block, wanted: Hash) -> tuple[Transaction, Inclusion] | None:
    """A transaction of a whole block with its proof, for handing on to somebody who has the header alone."""
    for index, transaction in enumerate(block.transactions):
        if transaction.id == wanted:
            leaves = [merkle.leaf_hash(encode(each)) for each in block.transactions]
            path = tuple(Hash(sibling) for sibling in merkle.inclusion_proof(leaves, index))
            return transaction, Inclusion(index, len(leaves), path)
    return None


def check_header_chain(headers: Sequence[Header]) -> None:
    """That each header stands on the one before it. Raises ProofError naming the height."""
    for below, above in itertools.pairwise(headers):
        _require(
            above.parent == below.hash and above.height == below.height + 1,
            "a header does not stand on the one before it",
            above.height,
        )


def _check_quorum(chain_id: str, proof: FinalityProof, table: ValidatorTable) -> None:
    certificate = proof.certificate
    signers = table.indexes(certificate.signers)
    if signers is None:
        raise ProofError(
            "the certificate's bitmap is not of this table", value=certificate.signers, remedy=_REMEDY
        )
    weight = table.weight_of(signers)
    _require(
        weight >= table.quorum_weight,
        "the certificate is of less than a quorum",
        f"{weight} of {table.quorum_weight}",
    )
    keys = [table.key(index) for index in signers]
    _require(
        bls.fast_aggregate_verify(keys, certificate.message(chain_id), certificate.signature),
        "the certificate's signature does not verify",
        certificate.candidate_id,
    )


def _check_inclusion(
    leaf: bytes, inclusion: Inclusion, root: Hash, size_max: int, what: str, *, counted: bool = False
) -> None:
    index, size, path = inclusion.index, inclusion.size, inclusion.path
    _require(
        0 <= index < size <= size_max and len(path) <= PATH_HASHES_MAX,
        f"not a place in a block for a {what}",
        _place(inclusion),
    )
    found = merkle.root_by_inclusion(merkle.leaf_hash(leaf), index, size, path)
    if counted and found is not None:
        found = merkle.counted_root(found, size)
    _require(found == root, f"the {what} is not under the header's root", _place(inclusion))


def _place(inclusion: Inclusion) -> str:
    return f"{inclusion.index} of {inclusion.size}"


def _is_root(header: Header) -> bool:
    """Whether an epoch begins above this block."""
    return header.height == 0 or is_last_of_epoch(header)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= U64_MAX


def _span(milliseconds: int) -> str:
    """A time for people."""
    seconds = milliseconds // 1_000
    for name, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} seconds"


def _require(holds: bool, reason: str, value: object) -> None:
    if not holds:
        raise ProofError(reason, value=value, remedy=_REMEDY)
