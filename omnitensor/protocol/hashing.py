"""Hashes tagged by purpose (as in BIP-340): one purpose's hash can never be taken for another's.

Knows SHA-256; nothing of what is hashed.
"""

from hashlib import sha256
from typing import Final

from omnitensor.protocol.types import Hash


class TaggedHash:
    """Hash function of one purpose: ``SHA256(SHA256(tag) || SHA256(tag) || len(p1) || p1 || ...)``, 4-byte lengths.

    Calling it with different splits of the same bytes gives different hashes, since each part is prefixed by its length.
    """

    __slots__ = ("_start", "tag")

    def __init__(self, tag: str) -> None:
        self.tag = tag
        digest = sha256(tag.encode("ascii")).digest()
        self._start = sha256(digest + digest)

    def __call__(self, *parts: bytes) -> Hash:
        state = self._start.copy()
        for part in parts:
            state.update(len(part).to_bytes(4, "big"))
            state.update(part)
        return Hash(state.digest())


# Every purpose that the protocol hashes for, on one page. The version in a tag changes when what is hashed changes.
TRANSACTION: Final = TaggedHash("omnitensor/transaction/1")
HEADER: Final = TaggedHash("omnitensor/header/1")
CANDIDATE: Final = TaggedHash("omnitensor/candidate/1")
VOTE: Final = TaggedHash("omnitensor/vote/1")
BEACON_MESSAGE: Final = TaggedHash("omnitensor/beacon-message/1")
BEACON: Final = TaggedHash("omnitensor/beacon/1")
VALIDATORS: Final = TaggedHash("omnitensor/validators/1")
LEADER: Final = TaggedHash("omnitensor/leader/1")
GENESIS: Final = TaggedHash("omnitensor/genesis/1")
SUBMISSION: Final = TaggedHash("omnitensor/submission/1")
ITEMS: Final = TaggedHash("omnitensor/items/1")
SEATS: Final = TaggedHash("omnitensor/seats/1")
DRAW: Final = TaggedHash("omnitensor/draw/1")
REPORT: Final = TaggedHash("omnitensor/report/1")
GOLD: Final = TaggedHash("omnitensor/gold/1")
PLAIN: Final = TaggedHash("omnitensor/plain/1")
AUDIT: Final = TaggedHash("omnitensor/audit/1")
UPLOAD: Final = TaggedHash("omnitensor/upload/1")
PEER: Final = TaggedHash("omnitensor/peer/1")
GOSSIP: Final = TaggedHash("omnitensor/gossip/1")
EVIDENCE: Final = TaggedHash("omnitensor/evidence/1")
MULTISIG: Final = TaggedHash("omnitensor/multisig/1")
MULTISIG_ORDER: Final = TaggedHash("omnitensor/multisig-order/1")
VAULT: Final = TaggedHash("omnitensor/vault/1")
RPC_AUTH: Final = TaggedHash("omnitensor/rpc-auth/1")
MODEL: Final = TaggedHash("omnitensor/model/1")
WORK_MODEL: Final = TaggedHash("omnitensor/work-model/1")
WORK_UNIT: Final = TaggedHash("omnitensor/work-unit/1")
WORK_TICKET: Final = TaggedHash("omnitensor/work-ticket/1")
WORK_AUDIT: Final = TaggedHash("omnitensor/work-audit/1")
WORK_OUTPUTS: Final = TaggedHash("omnitensor/work-outputs/1")
WORK_RECEIPT: Final = TaggedHash("omnitensor/work-receipt/1")
WORK_SYNTHETIC: Final = TaggedHash("omnitensor/work-synthetic/1")
WORK_JOB: Final = TaggedHash("omnitensor/work-job/1")
WORK_ASSIGN: Final = TaggedHash("omnitensor/work-assign/1")
