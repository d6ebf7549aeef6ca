"""What consensus and sync want done with the chain, one thing at a time on its one thread: judge, build, commit, believe a proof.

No threads, no event loop, no clock, no network: ``application`` runs it on a thread of its own, the simulation in virtual time.
Decides nothing about finality.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import structlog

from consensus.stake import effects as fx
from consensus.stake.events import FinalPoint
from consensus.stake.scheme import Scheme
from node.driver import Checked
from node.epochs import EpochView, epoch_above, final_point_of
from omnitensor.protocol import limits
from omnitensor.protocol.blocks import Block
from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.errors import BlockError, ProtocolError, SignatureError
from omnitensor.protocol.types import Address, BlsPublicKey, BlsSignature, Epoch, Hash, Height
from omnitensor.protocol.votes import Candidate, FinalityProof
from state.chain import Chain, Committed, NoRoomError
from state.ledger.prepared import Prepared
from state.ledger.upgrades import UpgradeError
from state.reader import Reader
from state.schema import HEIGHTS

log = structlog.get_logger("chain")


class DivergedError(ProtocolError):
    """A quorum made final what can't be final here: somebody computes wrongly, or a third of the stake is hostile."""

    code = "diverged"

    def __init__(self, reason: str, block: Block) -> None:
        super().__init__(
            reason,
            value=f"height {block.header.height}, {block.hash.hex()}",
            remedy="keep this node's data, and report both versions and the block to the project's issue tracker",
        )
        self.block: Final = block


class ProofsAhead:
    """Finality proofs that came before the block that they prove, the latest few."""

    def __init__(self) -> None:
        self._proofs: OrderedDict[Hash, FinalityProof] = OrderedDict()

    def put(self, proof: FinalityProof) -> None:
        self._proofs[Hash(proof.candidate.block_hash)] = proof
        while len(self._proofs) > limits.proofs_ahead_max:
            self._proofs.popitem(last=False)

    def take(self, block_hash: Hash) -> FinalityProof | None:
        return self._proofs.pop(block_hash, None)


class ChainWork:
    """The chain, and the epoch that votes above its head."""

    def __init__(self, chain: Chain, voter: BlsPublicKey | None, scheme: Scheme | None = None) -> None:
        """``voter`` is the key that this node votes with, None when it only follows; ``scheme`` is BLS where it is None."""
        self.chain: Final = chain
        self._voter = voter
        self._scheme = scheme
        self._epoch: EpochView | None = None
        self._proofs = ProofsAhead()

    # -- looking; from any thread

    @property
    def epoch(self) -> EpochView:
        """The epoch that votes now: that of the block above the head."""
        return self._epoch_of(self.chain.reader())

    def _epoch_of(self, reader: Reader) -> EpochView:
        number, kept = epoch_above(reader), self._epoch
        if kept is None or kept.number != number:
            kept = self._view_of(reader, number, self._voter)
            assert kept is not None, "the set of the epoch under way is never forgotten"
            self._epoch = kept
        return kept

    def _view_of(self, reader: Reader, epoch: Epoch, voter: BlsPublicKey | None) -> EpochView | None:
        return EpochView.of(reader, epoch, self.chain.genesis_hash, voter, self._scheme)

    def standing(self) -> tuple[EpochView, FinalPoint | None]:
        """The epoch that votes now, and where its core begins: None while the head is final only through a block above it."""
        reader = self.chain.reader()
        epoch = self._epoch_of(reader)
        return epoch, final_point_of(reader.head, epoch.number)

    def builder_of(self, build: fx.Build) -> Address | None:
        """The account to build a block for; None where this node may not lead, or sync has brought another epoch meanwhile."""
        epoch = self.epoch
        right = epoch_of(Height(build.parent_height + 1), self.chain.params) == epoch.number
        return epoch.address if right else None

    def fault_of_proof(self, proof: FinalityProof) -> ProtocolError | None:
        """Why a finality proof is not to be believed, or None. Reads the chain and computes; touches nothing."""
        reader = self.chain.reader()
        epoch: EpochView | None = self._epoch_of(reader)
        if epoch is None or proof.candidate.epoch != epoch.number:
            # Of an epoch that is over here, when the node has overtaken its sync; of a later one it can't be verified yet.
            epoch = self._view_of(reader, proof.candidate.epoch, None)
        if epoch is None:
            return SignatureError(
                "a proof of an epoch whose validators are not known", value=proof.candidate.epoch
            )
        try:
            epoch.verifier.verify_finality(proof)
        except ProtocolError as error:
            return error
        return None

    # -- for consensus; on the chain's thread

    def build(
        self, build: fx.Build, builder: Address, reveal: BlsSignature, waiting: Sequence[Prepared]
    ) -> Block | None:
        """A block of waiting transactions; None when none can be built on this parent."""
        try:
            return self.chain.build(
                build.parent_hash, build.timestamp_ms, builder, reveal, waiting, build.attendance
            )
        except (BlockError, NoRoomError, UpgradeError) as error:
            log.warning("no block built", view=build.view, reason=str(error))
            return None

    def leader_fault(self, candidate: Candidate, block: Block) -> Checked | None:
        """A verdict where the block is not its view's leader's; None where it may well be."""
        epoch = self.epoch
        leader = epoch.schedule.address(epoch.schedule.leader(candidate.view))
        if candidate.epoch == epoch.number and block.header.proposer != leader:
            return Checked("the block's proposer is not its view's leader")
        return None

    def check(self, block: Block, below: Sequence[Block]) -> Checked | None:
        """None where it was overtaken by sync, its parent was, or too many blocks wait: none of that is the block's fault.

        A block that contradicts a final one may well have a quorum's notarization (and was passed over then), so it must not
        be called invalid either.
        """
        if block.header.height <= self.chain.head.height:
            return Checked(None) if self._is_final(block) else None
        self.execute(below)
        if not self.chain.is_executed(block.header.parent):
            return None
        try:
            self.chain.check(block)
        except NoRoomError as error:
            log.warning("no room for another block", reason=str(error))
            return None
        except UpgradeError as error:
            log.warning("a block that newer software alone can judge", reason=str(error))
            return None
        except BlockError as error:
            return Checked(str(error))
        return Checked(None)

    def execute(self, blocks: Sequence[Block]) -> None:
        """Executes again what the chain has forgotten of blocks that were found valid before."""
        for block in blocks:
            if block.header.height <= self.chain.head.height or self.chain.is_executed(block.hash):
                continue
            if not self.chain.is_executed(block.header.parent):
                return
            try:
                self.chain.check(block)
            except (NoRoomError, UpgradeError) as error:
                log.warning("a block is not executed again", reason=str(error))
                return

    def _is_final(self, block: Block) -> bool:
        row = self.chain.reader().get(HEIGHTS, block.hash)
        return row is not None and row.height == block.header.height

    def commit(self, blocks: Sequence[Block], proof: FinalityProof) -> tuple[Committed, ...]:
        """R6: the blocks that became final, in one synced batch; those that sync has committed already are left out."""
        last = blocks[-1]
        if last.header.height > self.chain.head.height and self.chain.is_executed(last.hash):
            return self.chain.commit_path(last.hash, proof)
        # Forgotten, or overtaken by sync: what is left is committed one by one, as sync does.
        self.expect(proof)
        return tuple(committed for block in blocks for committed in self.commit_next(block))

    # -- for the sync; on the chain's thread

    def expect(self, proof: FinalityProof) -> None:
        """A proof that was verified: it is written with its block when that is committed."""
        self._proofs.put(proof)

    def commit_next(self, block: Block) -> tuple[Committed, ...]:
        """Commits a block that a quorum made final, with its own proof where there is one. Raises DivergedError."""
        header, head = block.header, self.chain.head
        if header.height <= head.height:
            if self._is_final(block):
                return ()
            raise DivergedError("a quorum made two blocks of one height final", block)
        if header.parent != head.hash:
            raise DivergedError(
                f"a quorum made a block final that does not stand on the final block {head.height}", block
            )
        try:
            self.chain.check(block)
        except BlockError as error:
            raise DivergedError(
                f"a quorum made a block final that is invalid here ({error})", block
            ) from error
        return self.chain.commit_path(block.hash, self._proofs.take(block.hash))
