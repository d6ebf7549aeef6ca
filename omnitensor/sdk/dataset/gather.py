"""Exports a campaign's accepted items into a folder: bytes, tables, reports, and the proofs of all of it.

Bytes first, since they may take hours; then the proofs, all within a few blocks; then the block that they hang on. What is there
when it is interrupted is used by the next try, and the folder has its name only when it is whole.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from omnitensor.light import check_finality, check_header_chain
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import decode
from omnitensor.protocol.rows import Item, campaign_key, item_key, private_item_key
from omnitensor.protocol.rows_review import Batch, batch_key, seat_key
from omnitensor.protocol.types import Address, BatchId, CampaignId, Height, ItemId
from omnitensor.protocol.votes import FinalityProof, ValidatorTable
from omnitensor.sdk import results
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.content import download_file, file_content
from omnitensor.sdk.dataset import bundle, tables
from omnitensor.sdk.dataset.bundle import ChainProof, DatasetError, Manifest
from omnitensor.sdk.dataset.write import ProvenRow, Writer
from omnitensor.sdk.proofs import header_from, proof_from, state_proof_from
from omnitensor.sdk.reads import HEADERS_WITHOUT_PROOF_MAX, campaign_number

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE: Final = 8
"""Requests under way at one time."""
ANCHOR_TRIES: Final = 20

Watch = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exported:
    """A data set that lies in a folder."""

    folder: Path
    manifest: Manifest


class Exporter:
    """Exports from one node, of which nothing is believed: what it says is proven, or was hashed by the contributor."""

    def __init__(self, client: AsyncClient, watch: Watch | None = None) -> None:
        self._client: Final = client
        self._watch: Final = watch or (lambda what, done, whole: None)

    async def export(self, campaign: int | str, folder: str | Path, *, settled_only: bool = True) -> Exported:
        """Writes the data set of a campaign. Raises DatasetError, NotFoundError, ProofError, ConnectionFailed.

        ``settled_only``: items whose challenge window is over. Else also those whose verdict can still be appealed.
        """
        number, target = CampaignId(int(campaign_number(campaign))), Path(folder)
        if await asyncio.to_thread(target.exists):
            raise DatasetError(
                "the folder is there already", value=target, remedy="name another, or remove it"
            )
        tables.arrow()
        building = target.with_name(target.name + ".partial")
        await asyncio.to_thread(_make_folders, building)
        shown = await self._accepted(number, settled_only)
        await self._fetch(building, shown)
        items = await self._proven(
            "proving items",
            [ItemId(each.item) for each in shown],
            lambda item: self._row(item_key(item)),
        )
        writer = await asyncio.to_thread(Writer(building, settled_only).begin, number, items)
        rows = await self._reports(items)
        private = await self._private(number, list(items))
        chain = await self._chain(number, [*items.values(), *rows.values(), *private.values()])
        done = await asyncio.to_thread(writer.finish, chain, rows, private)
        await asyncio.to_thread(os.replace, building, target)
        return Exported(target, done)

    async def _accepted(self, number: CampaignId, settled_only: bool) -> list[results.Item]:
        wanted = ("paid",) if settled_only else ("accepted", "paid")
        found = [each async for each in self._client.each_item(number) if each.status in wanted]
        if not found:
            raise DatasetError(
                "the campaign has no accepted item"
                + (" whose challenge window is over" if settled_only else ""),
                value=int(number),
                remedy="wait, or export also what can still be appealed (--unsettled)"
                if settled_only
                else "wait",
            )
        return sorted(found, key=lambda each: each.item)

    async def _fetch(self, building: Path, items: Sequence[results.Item]) -> None:
        """The bytes of every item, each as a file named by its chunk root."""
        whole, done = sum(each.content.size for each in items), 0
        parts = building / ".parts"
        await asyncio.to_thread(parts.mkdir, exist_ok=True)

        async def one(item: results.Item) -> None:
            nonlocal done
            content = item.content.content_id()
            path = parts / content.chunk_root.hex()
            if not path.exists() or await asyncio.to_thread(file_content, path) != content:
                await download_file(self._client.transport, content, path)
            done += content.size
            self._watch("fetching bytes", done, whole)

        distinct = {each.content.chunk_root: each for each in items}
        await _each(list(distinct.values()), one)

    async def _row(self, key: bytes) -> ProvenRow:
        shown = await self._client.state_row(key)
        if shown.value is None:
            raise DatasetError(
                "the node does not show a row that must be there", value=key, remedy="ask another node"
            )
        return ProvenRow(shown.height, bytes.fromhex(shown.value), state_proof_from(shown))

    async def _proven(
        self, what: str, things: Sequence[T], ask: Callable[[T], Coroutine[Any, Any, ProvenRow]]
    ) -> dict[T, ProvenRow]:
        found: dict[T, ProvenRow] = {}

        async def one(thing: T) -> None:
            found[thing] = await ask(thing)
            self._watch(what, len(found), len(things))

        await _each(things, one)
        return {thing: found[thing] for thing in things}

    async def _reports(self, items: dict[ItemId, ProvenRow]) -> dict[bytes, ProvenRow]:
        """Rows of the batches that the items were in, and of all their seats, by key."""
        decoded = [decode(Item, row.value) for row in items.values()]
        batches = sorted({BatchId(b) for each in decoded for b in (each.batch, each.second) if b})
        keys = [batch_key(batch) for batch in batches]
        found = await self._proven("proving batches", keys, self._row)
        seats = [
            seat_key(batch, decode(Batch, found[key].value).round, Address(seat))
            for batch, key in zip(batches, keys, strict=True)
            for seat in decode(Batch, found[key].value).seats
        ]
        return found | await self._proven("proving reports", seats, self._row)

    async def _private(self, number: CampaignId, items: Sequence[ItemId]) -> dict[ItemId, ProvenRow]:
        """What the items of a private campaign were declared with: their keys for the sponsor. Nothing of another's."""
        if not (await self._client.campaign(number)).spec.is_private:
            return {}
        return await self._proven("proving keys", items, lambda item: self._row(private_item_key(item)))

    # -- the block that all hangs on

    async def _chain(self, number: CampaignId, rows: Sequence[ProvenRow]) -> ChainProof:
        """Headers from the oldest block that something was proven by, up to one that is final by its own proof."""
        campaign = await self._row(campaign_key(number))
        heights = [row.height for row in (campaign, *rows)]
        verified = await self._client.verified_head()
        first, last = min(heights), max([*heights, verified.height])
        anchor, proof = await self._final_from(last)
        headers = await self._headers(first, anchor)
        check_header_chain(headers)
        table = await self._client.validator_table(headers[-1].epoch)
        check_finality(headers[-1], proof, table)
        await self._believed(headers[-1])
        boundary = await self._boundary(table, headers[-1])
        return ChainProof(
            number, Height(campaign.height), campaign.value, campaign.proof, tuple(headers), proof, table.entries, boundary
        )  # fmt: skip

    async def _final_from(self, height: int) -> tuple[int, FinalityProof]:
        """The first block from a height on that has a proof of its own, once it is there."""
        for _ in range(ANCHOR_TRIES):
            newest = (await self._client.status()).height
            for above in range(height, min(newest, height + HEADERS_WITHOUT_PROOF_MAX) + 1):
                found = await self._client.block(height=above)
                if found.proof is not None:
                    return above, proof_from(found.proof)
            await asyncio.sleep(1)
        raise DatasetError(
            "the node shows no block that is final by itself", value=height, remedy="try again"
        )

    async def _headers(self, first: int, last: int) -> list[Header]:
        found: dict[int, Header] = {}

        async def one(height: int) -> None:
            found[height] = header_from((await self._client.block(height=height)).header)

        await _each(list(range(first, last + 1)), one)
        return [found[height] for height in range(first, last + 1)]

    async def _believed(self, anchor: Header) -> None:
        """That the light client, with what its user trusts, finds the same block final."""
        header = await self._client.proven_header(anchor.height)
        if header != anchor:
            raise DatasetError(
                "the node shows two blocks of one height", value=anchor.height, remedy="ask another node"
            )

    async def _boundary(self, table: ValidatorTable, anchor: Header) -> Header:
        """The block below the anchor's epoch."""
        if anchor.epoch == 0:
            return header_from((await self._client.block(height=0)).header)
        params = await self._client.params()
        return header_from((await self._client.block(height=anchor.epoch * params.epoch_blocks)).header)


def _make_folders(building: Path) -> None:
    """The folders of an export, empty of what an interrupted try left there but for the bytes."""
    for name in bundle.FOLDERS:
        shutil.rmtree(building / name, ignore_errors=True)
        (building / name).mkdir(parents=True)
    (building / bundle.REPORTS).unlink(missing_ok=True)


async def _each(things: Sequence[T], work: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """Does something with each of many, a few at a time; the first failure ends all."""
    waiting = iter(things)

    async def some() -> None:
        for thing in waiting:
            await work(thing)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(things))):
                group.create_task(some())
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
