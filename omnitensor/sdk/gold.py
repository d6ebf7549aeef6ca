"""A sponsor's gold: answers committed to before anybody is drawn, said when a batch asks, opened when they were not used.

The answers and their salts lie in a book on this disk from before the commitment is sent: without it nothing can be opened,
and every bond is lost.
"""

from __future__ import annotations

import asyncio
import csv
import secrets
from pathlib import Path
from typing import Final

import msgspec

from omnitensor.protocol import merkle
from omnitensor.protocol.bodies import GoldCommit, GoldOpening, GoldRetire, GoldReveal, GoldSpare
from omnitensor.protocol.limits import gold_items_max, gold_retired_per_order_max
from omnitensor.protocol.reviews import gold_leaf
from omnitensor.protocol.types import Amount, BatchId, CampaignId, Hash, ItemId
from omnitensor.sdk import results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import Client
from omnitensor.sdk.content import file_content
from omnitensor.sdk.errors import FileError, InputError, NotFoundError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import POLL_S
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import hash_of
from omnitensor.sdk.wallet import Wallet

CRITERIA: Final = ("completeness", "accuracy", "relevance")


class Piece(msgspec.Struct, frozen=True):
    """One answer: a content, which criteria it passes (1, 2, 4), and the salt that hides it."""

    chunk_root: str
    bits: int
    salt: str
    name: str = ""


class GoldBook(msgspec.Struct, frozen=True):
    """A campaign's gold as it lies on disk, in the order of its tree."""

    campaign: int
    chain_id: str
    pieces: list[Piece]

    def leaves(self) -> list[bytes]:
        return [
            merkle.leaf_hash(
                gold_leaf(
                    self.chain_id, self.campaign, hash_of(piece.chunk_root), piece.bits, hash_of(piece.salt)
                )
            )
            for piece in self.pieces
        ]

    def root(self) -> Hash:
        return Hash(merkle.root(self.leaves()))

    def path(self, index: int) -> tuple[Hash, ...]:
        return tuple(map(Hash, merkle.inclusion_proof(self.leaves(), index)))


class AsyncGold(AsyncActor):
    """Commits to gold, says it when it is asked for, and has unused bonds back. Acts for a campaign's sponsor."""

    async def commit(
        self, campaign: int | str, answers: str | Path, *, bond_each: int | None = None
    ) -> results.TransactionResult:
        """Bind a campaign to the answers in a CSV file: columns path, completeness, accuracy, relevance (1 passes, 0 does not).

        The files themselves are handed in afterwards, like any other. Raises InputError, FundsError or RefusedError.
        """
        number = campaign_number(campaign)
        found = await self.client.campaign(number)
        if found.gold is not None:
            raise InputError(
                "the campaign has its gold", value=number, remedy="a campaign commits to gold once"
            )
        pieces = await asyncio.to_thread(pieces_from, Path(answers))
        book = GoldBook(number, await self.client.chain_id(), pieces)
        path = await self._path(number)
        if self.home.read(path, GoldBook) is not None:
            raise InputError(
                "a book of this campaign's gold is on this disk already",
                value=path,
                remedy="if its commitment was never made, move the file away",
            )
        self.home.write(path, book)
        spec = found.spec
        least = spec.first_seats * (spec.review_fee * max(spec.tier_bps) // 10_000)
        bond = least if bond_each is None else bond_each
        body = GoldCommit(CampaignId(number), book.root(), len(pieces), Amount(bond))
        try:
            return await self.client.execute(await self.wallet(), body)
        except InputError:
            path.unlink(missing_ok=True)
            raise

    async def reveal(self, campaign: int | str) -> list[int]:
        """Answer every batch of a campaign that asks for gold now; their numbers."""
        number = campaign_number(campaign)
        book = await self.book(number)
        places = {piece.chunk_root: place for place, piece in enumerate(book.pieces)}
        asking: dict[int, list[results.Item]] = {}
        for item in await self.client.items(number, status="in_review"):
            if item.batch is not None:
                asking.setdefault(item.batch, []).append(item)
        answered: list[int] = []
        for batch, items in asking.items():
            if (await self.client.batch(batch, 1)).phase != "gold":
                continue
            openings = tuple(
                self._opening(book, places[item.content.chunk_root], item.item)
                for item in items
                if item.content.chunk_root in places
            )
            await self.client.execute(await self.wallet(), GoldReveal(BatchId(batch), openings))
            answered.append(batch)
        return answered

    async def reveal_loop(self, campaign: int | str) -> int:
        """Answer until the campaign has ended; how many batches were answered."""
        answered = 0
        while (await self.client.campaign(campaign)).status in ("open", "closing"):
            answered += len(await self.reveal(campaign))
            await self.client.ticker.tick(POLL_S)
        return answered

    async def retire(self, campaign: int | str) -> results.TransactionResult | None:
        """Open gold that was not used, up to 64 pieces at once, to have its bonds back; None where all of it was."""
        number = campaign_number(campaign)
        book = await self.book(number)
        seen = {item.content.chunk_root: item for item in await self.client.items(number)}
        spares = tuple(
            GoldSpare(place, hash_of(piece.chunk_root), piece.bits, hash_of(piece.salt), book.path(place))
            for place, piece in enumerate(book.pieces)
            if piece.chunk_root not in seen
        )[:gold_retired_per_order_max]
        if not spares:
            return None
        return await self.client.execute(await self.wallet(), GoldRetire(CampaignId(number), spares))

    async def book(self, campaign: int | str) -> GoldBook:
        """The answers on this disk. Raises NotFoundError."""
        path = await self._path(campaign_number(campaign))
        book = self.home.read(path, GoldBook)
        if book is None:
            raise NotFoundError(
                "there is no gold of this campaign on this disk",
                value=path,
                remedy="use the machine and home from which it was committed",
            )
        return book

    def _opening(self, book: GoldBook, place: int, item: int) -> GoldOpening:
        piece = book.pieces[place]
        return GoldOpening(place, ItemId(item), piece.bits, hash_of(piece.salt), book.path(place))

    async def _path(self, campaign: int) -> Path:
        return self.home.work("gold", await self._place(), f"{campaign}.json")


def pieces_from(path: Path) -> list[Piece]:
    """The answers in a CSV file, with salts of their own. Raises FileError or InputError naming the line."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(
            f"the answers can't be read ({error})", value=path, remedy="give a CSV file"
        ) from error
    if not 0 < len(rows) <= gold_items_max:
        raise InputError(
            "no answers, or too many", value=f"{len(rows)} lines", remedy=f"1 to {gold_items_max} lines"
        )
    pieces: dict[str, Piece] = {}
    for line, row in enumerate(rows, 2):
        bits = 0
        for place, name in enumerate(CRITERIA):
            if row.get(name) not in ("0", "1"):
                raise InputError(
                    f"line {line} does not say whether {name} passes",
                    value=row.get(name),
                    remedy="columns path, completeness, accuracy, relevance; 1 passes, 0 does not",
                )
            bits |= int(row[name]) << place
        content = file_content(path.parent / (row.get("path") or ""))
        root = content.chunk_root.hex()
        if root in pieces:
            raise InputError(f"line {line} repeats a file", value=row["path"], remedy="give each file once")
        pieces[root] = Piece(root, bits, secrets.token_bytes(32).hex(), row["path"])
    return list(pieces.values())


class Gold(Blocking[AsyncGold]):
    """The blocking twin of AsyncGold."""

    def __init__(
        self,
        wallet: Wallet,
        *,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(lambda: AsyncGold(wallet, endpoint=endpoint, client=async_of(client), home=home))
        )

    commit = blocking(AsyncGold.commit)
    reveal = blocking(AsyncGold.reveal)
    reveal_loop = blocking(AsyncGold.reveal_loop)
    retire = blocking(AsyncGold.retire)
    book = blocking(AsyncGold.book)
