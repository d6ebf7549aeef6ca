"""Light client: checks that a block is final, and that something is in it, from proofs that anybody may have sent.

Knows the records of the protocol; keeps no chain, asks nobody, and trusts only the validator table it is given.
What a proof can't show raises ProofError, which names the check that failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

from omnitensor.protocol import bls, merkle
from omnitensor.protocol.blocks import Block, Header, Receipt, transactions_root
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import block_transactions_max
from omnitensor.protocol.merkle import Inclusion as Inclusion
from omnitensor.protocol.state_proof import StateProof, proves_absence, proves_presence
from omnitensor.protocol.transactions import Transaction, transaction_id
from omnitensor.protocol.types import Hash
from omnitensor.protocol.votes import FinalityProof, ValidatorTable, VoteKind

PATH_HASHES_MAX: Final = 64
"""Siblings in a Merkle path: trees of more leaves do not exist."""
_REMEDY: Final = "ask another node; this one sent something that is not so"


class ProofError(ProtocolError):
    """A proof that does not show what it should."""

    code = "proof"


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
    _check_inclusion(encoded, inclusion, header.transactions_root, block_transactions_max, "transaction")
    return transaction_id(encoded)


def check_receipt(header: Header, receipt: Receipt, inclusion: Inclusion) -> Hash:
    """The id of the transaction that a receipt under a header's root is of. Raises ProofError.

    The tree's last leaf is the block's own events, and no receipt.
    """
    _check_inclusion(
        encode(receipt),
        inclusion,
        header.receipts_root,
        block_transactions_max + 1,
        "receipt",
        last_is_other=True,
    )
    return receipt.transaction_id


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
    leaf: bytes, inclusion: Inclusion, root: Hash, size_max: int, what: str, *, last_is_other: bool = False
) -> None:
    shown = f"{inclusion.index} of {inclusion.size}"
    _require(
        0 <= inclusion.index < inclusion.size - last_is_other
        and inclusion.size <= size_max
        and len(inclusion.path) <= PATH_HASHES_MAX,
        f"not a place in a block for a {what}",
        shown,
    )
    _require(
        merkle.verify_inclusion(
            merkle.leaf_hash(leaf), inclusion.index, inclusion.size, inclusion.path, root
        ),
        f"the {what} is not under the header's root",
        shown,
    )


def _require(holds: bool, reason: str, value: object) -> None:
    if not holds:
        raise ProofError(reason, value=value, remedy=_REMEDY)
