"""Follows the voters of a chain from epoch to epoch, and gives headers that they made final. No node is believed.

Begins with the newest block verified before, a checkpoint, or genesis; goes on by itself when a node shows a block of a later
epoch. What is remembered changes only after everything about it was checked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any, Final

from omnitensor.light import (
    Checkpoint,
    ProofError,
    TrustedPoint,
    TrustError,
    advance_all,
    begin,
    check_ancestor,
    check_final,
    check_header_chain,
    check_trusted,
    is_last_of_epoch,
)
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.limits import rpc_steps_max
from omnitensor.protocol.types import Hash, Height
from omnitensor.sdk import results
from omnitensor.sdk.errors import InputError, NotFoundError, ResponseError, WrongChainError
from omnitensor.sdk.proofs import header_from, inclusion_from, proof_from, step_from
from omnitensor.sdk.reads import HEADERS_WITHOUT_PROOF_MAX, ChainIdentity
from omnitensor.sdk.results import hash_of
from omnitensor.sdk.staking import StakingReads
from omnitensor.sdk.transport import Transport
from omnitensor.sdk.trust import PointFile, Trust

HEAD_MOVES_MAX: Final = 4
"""How often a block that was the last is looked up again, because there was another by the time it was checked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verified:
    """How far a client has verified a chain."""

    header: Header
    """The last final block that the node showed."""
    point: TrustedPoint
    """The last block of the epoch before it, where the next verification begins."""

    @property
    def height(self) -> Height:
        return self.header.height

    @property
    def checkpoint(self) -> Checkpoint:
        """To be written down, and given to another client."""
        return self.point.checkpoint


class EpochReads(StakingReads):
    """The part of a client that knows who votes."""

    def __init__(
        self, transport: Transport, expected: ChainIdentity | None = None, trust: Trust | None = None
    ) -> None:
        super().__init__(transport, expected)
        self.trust: Final = trust or Trust()
        self._file: PointFile | None = None
        self._point: TrustedPoint | None = None
        self._saved: TrustedPoint | None = None
        self._unproven: list[Checkpoint] = []
        """Blocks below the point that must be on its chain before anything is believed or remembered."""
        self._epochs_lock = asyncio.Lock()

    async def verified_head(self) -> Verified:
        """The node's last block, verified, and the checkpoint to begin with another time. Raises ProofError, InputError."""
        await self._settle()
        height = 0
        for _ in range(HEAD_MOVES_MAX):
            await self._advanced(None)
            height = (await self.status()).height
            header = await self._newest(height)
            if header is not None:
                assert self._point is not None, "it settled"
                return Verified(header, self._point)
        raise _behind(height)

    async def trusted_point(self) -> TrustedPoint:
        """The newest block that begins an epoch whose voters are known. Raises ProofError, InputError."""
        await self._settle()
        assert self._point is not None, "it settled"
        return self._point

    async def proven_header(self, height: int) -> Header:
        """The header of any final block. Raises ProofError; NotFoundError where the node has no such block."""
        await self._settle()
        return await self._header_at(height)

    # -- beginning

    async def _settle(self) -> None:
        """Know where to begin, and that it is on the chain that the user named."""
        async with self._epochs_lock:
            if self._point is None:
                await self._begin()
        assert self._point is not None, "it began"
        check_trusted(self._point, now_ms=_now_ms(), period_ms=self.trust.period_ms)
        while self._unproven:
            block = self._unproven[-1]
            header = await self._header_at(block.height)
            if header.hash != block.block_hash:
                raise self._other_chain(block, header.hash)
            if block in self._unproven:
                self._unproven.remove(block)
        self._save()

    async def _begin(self) -> None:
        checkpoint = self.trust.checkpoint
        if self.expected is None and checkpoint is None:
            raise InputError(
                "the client was not told which chain it is on, so nothing can be checked",
                remedy="give a checkpoint (height:hash) that you trust, or chain=ChainIdentity(chain id, genesis hash)",
            )
        identity = self.expected or await self.identity()
        genesis = Checkpoint(Height(0), hash_of(identity.genesis_hash))
        if checkpoint is not None and checkpoint.height == 0 and checkpoint != genesis:
            raise WrongChainError(
                "the checkpoint is the genesis block of another chain",
                value=checkpoint,
                remedy="name a node of the checkpoint's chain with --endpoint",
            )
        if self.trust.home is not None:
            self._file = PointFile(self.trust.home, genesis.block_hash.hex())
        point = None if self._file is None else self._file.load(identity.chain_id)
        if point is not None and (checkpoint is None or checkpoint.height <= point.height):
            self._unproven = [checkpoint] if checkpoint is not None and checkpoint.height else []
        else:
            first = checkpoint or genesis
            point = await self._shown(first, identity.chain_id)
            self._unproven = [genesis] if first.height else []
        self._point = point

    async def _shown(self, first: Checkpoint, chain_id: str) -> TrustedPoint:
        """The block of a checkpoint, and the voters above it, as the node has them."""
        header = header_from((await self.block(height=first.height)).header)
        try:
            table = await self.validator_table(header.epoch + is_last_of_epoch(header))
        except NotFoundError as error:
            raise _forgotten(first, error) from error
        return begin(header, table, first, chain_id)

    def _other_chain(self, block: Checkpoint, found: Hash) -> ProofError:
        where = "" if self._file is None else f", or move {self._file.path} away"
        return ProofError(
            f"the block at height {block.height} is another one than was named",
            value=found,
            remedy=f"check the checkpoint and the chain that you gave{where}",
        )

    # -- going on

    async def _advanced(self, epoch: int | None) -> TrustedPoint:
        """The point after as many steps as lead to an epoch (None: to the last that is over), or as the node has."""
        async with self._epochs_lock:
            point = self._point
            assert point is not None, "it began"
            while epoch is None or point.epoch < epoch:
                try:
                    page = await self._ask(results.StepPage, "light.steps", epoch=point.epoch)
                except NotFoundError as error:
                    raise _forgotten(point.checkpoint, error) from error
                if not page.steps:
                    break
                if len(page.steps) > rpc_steps_max:
                    raise ResponseError("the node sent more steps than a page has", value=len(page.steps))
                self._point = point = await asyncio.to_thread(self._stepped, point, page)
                self._save()
                if page.next is None:
                    break
            return point

    def _stepped(self, point: TrustedPoint, page: results.StepPage) -> TrustedPoint:
        """The point after all steps of a page. Raises ProofError, ResponseError."""
        steps = [step_from(shown) for shown in page.steps]
        return advance_all(point, steps, now_ms=_now_ms(), period_ms=self.trust.period_ms)

    def _save(self) -> None:
        point = self._point
        if self._file is not None and point is not None and point is not self._saved and not self._unproven:
            self._file.save(point)
            self._saved = point

    # -- headers

    async def _header_at(self, height: int) -> Header:
        """The header of a block: final by itself, or below one that is."""
        for _ in range(HEAD_MOVES_MAX):
            found = await self._ask(results.BlockInfo, "chain.block", height=height, history=True)
            header = header_from(found.header)
            if header.height != height:
                raise ProofError("the node sent a block of another height", value=header.height)
            point = await self._advanced(header.epoch)
            if header == point.header:
                return header
            if height >= point.height and found.proof is not None:
                self._check(point, header, found.proof)
                return header
            if found.history is not None:
                last = await self._newest(found.history.height)
                if last is not None:
                    check_ancestor(last, height, header.hash, inclusion_from(found.history))
                    return header
            elif height > point.height:
                last = await self._newest(height)
                if last is not None:
                    return last
        raise _behind(height)

    async def _newest(self, height: int) -> Header | None:
        """The header of the node's last block, final by its own proof or by that of a block that came since.

        None where it is not above what was verified: there are newer blocks by now, or the node is behind.
        """
        headers: list[Header] = []
        for above in range(height, height + HEADERS_WITHOUT_PROOF_MAX):
            found = await self.block(height=above)
            headers.append(header_from(found.header))
            if headers[0].height != height:
                raise ProofError("the node sent a block of another height", value=headers[0].height)
            if found.proof is None and above:
                continue
            point = await self._advanced(headers[-1].epoch)
            if headers[-1].height < point.height:
                return None
            if headers[-1] != point.header:
                self._check(point, headers[-1], found.proof)
            check_header_chain(headers)
            return headers[0]
        raise ProofError(
            "the node has no proof of finality near this height", value=height, remedy="ask another node"
        )

    def _check(self, point: TrustedPoint, header: Header, proof: Any) -> None:
        """That a header above the trusted one is final. Raises ProofError."""
        if header.epoch > point.epoch:
            raise ProofError(
                "the node does not show who votes in the epoch of its block",
                value=header.epoch,
                remedy="ask another node; this one does not prove what it says",
            )
        check_final(point, header, proof_from(proof), now_ms=_now_ms(), period_ms=self.trust.period_ms)


def _forgotten(block: Checkpoint, error: NotFoundError) -> TrustError:
    said = f"; the node says: {error.remedy}" if error.remedy else ""
    return TrustError(
        "the trusted block is so old that the node has not kept who voted above it",
        value=block,
        remedy=f"begin with a newer checkpoint (height:hash) from somebody whom you trust{said}",
    )


def _behind(height: int) -> ProofError:
    return ProofError(
        "the node's last block is older than one that was verified before, or of another chain",
        value=height,
        remedy="ask another node, or wait until this one has caught up",
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
