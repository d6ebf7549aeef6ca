"""A sponsor's gold: answers committed to before anybody is drawn, said when a batch asks, opened when they were not used.

The answers and their salts lie in a book on this disk from before the commitment is signed, and every signed order from before
it is sent: a process that dies anywhere goes on where it was. Without the book nothing can be opened, and every bond is lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import GoldCommit, GoldRetire, GoldReveal
from omnitensor.protocol.limits import gold_retired_per_order_max
from omnitensor.protocol.sealing import sealed_size
from omnitensor.protocol.types import BPS, Amount, BatchId, CampaignId
from omnitensor.sdk import bundles, results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.client import Client
from omnitensor.sdk.errors import (
    CampaignStateError,
    FundsError,
    InputError,
    NonceUsedError,
    NotFoundError,
    RefusedError,
    SdkError,
)
from omnitensor.sdk.faults import Fault, FaultsError
from omnitensor.sdk.gold_book import GoldBook, Piece, Progress, Tree, book_bytes_max, same_answers
from omnitensor.sdk.gold_files import Answer, answers_in
from omnitensor.sdk.gold_private import check_accounts, is_by, sealed_pieces
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import POLL_S, Order
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results_report import BatchLine
from omnitensor.sdk.sealing import check_sealed_size
from omnitensor.sdk.wallet import Wallet

if TYPE_CHECKING:
    from omnitensor.sdk.gold_run import GoldRun

REFUSALS_MAX: Final = 3
"""Answers to one batch that the chain may refuse, each for a fee, before it is left."""
AT_ONCE: Final = 16
"""Batches answered at the same time, so that many that ask together are heard in time; fewer than may wait of one sender."""


class AsyncGold(AsyncActor):
    """Commits to gold, says it when it is asked for, and has unused bonds back. Acts for a campaign's sponsor."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tree: Tree | None = None
        self._refused: Counter[int] = Counter()

    async def check(
        self, campaign: int | str, source: str | Path, *, sidecar: str | Path | None = None
    ) -> list[Piece]:
        """The answers in a folder or a file of answers (see `gold_files`), each file checked against the campaign as an item is.

        Sends nothing. Raises FaultsError with every fault, FileError or InputError.
        """
        found = await self.client.campaign(campaign)
        return await asyncio.to_thread(pieces_from, found, Path(source), sidecar)

    async def commit(
        self,
        campaign: int | str,
        source: str | Path,
        *,
        sidecar: str | Path | None = None,
        bond_each: int | None = None,
        by: Sequence[Wallet] = (),
    ) -> results.TransactionResult:
        """Bind a campaign to the answers in a folder or a file of answers; the files themselves are handed in afterwards.

        In a private campaign `by` are wallets of the accounts that will hand them in: each file is bound as one of them encrypts
        it. Interrupted, and called again, it goes on: nothing is committed to twice, and no salt is lost. Raises FaultsError,
        InputError, FundsError, CampaignStateError or RefusedError.
        """
        number = campaign_number(campaign)
        found = await self.client.campaign(number)
        signers = [await self.client.bind(each) for each in by]
        check_accounts((await self.wallet()).text, signers)
        pieces = await asyncio.to_thread(pieces_from, found, Path(source), sidecar)
        path = await self.path_of(number)
        with self.home.locked(path):
            progress = self._progress(path)
            book = self._read_book(path)
            if book is not None and not same_answers(book, pieces):
                if progress.commit is not None or found.gold is not None:
                    raise InputError(
                        "these are not the answers that the campaign was bound to",
                        value=source,
                        remedy=f"a campaign commits to gold once; its answers lie in {path}",
                    )
                book = None  # never signed: nothing rests on it
            if (
                book is not None
                and progress.commit is None
                and found.gold is None
                and not is_by(book, signers)
            ):
                book = None  # likewise, and made for accounts that are not here
            if progress.commit is not None:
                try:
                    return await self.client.deliver(progress.commit)
                except NonceUsedError:  # it never can be included, so another may be signed
                    self.keep(path, commit=None)
            if found.gold is not None:
                raise InputError(
                    "the campaign has its gold", value=number, remedy="a campaign commits to gold once"
                )
            if book is None:
                chain_id = await self.client.chain_id()
                if found.spec.is_private:
                    pieces = await asyncio.to_thread(sealed_pieces, found, pieces, signers, chain_id)
                book = GoldBook(number, chain_id, pieces)
                self.home.write(path, book)
            return await self._bind(path, found, Tree(book), bond_each)

    async def _bind(
        self, path: Path, campaign: results.Campaign, tree: Tree, bond_each: int | None
    ) -> results.TransactionResult:
        """Sign the commitment to a book that is on disk, and see it through."""
        bond = bond_min(campaign.spec) if bond_each is None else bond_each
        count = len(tree.book.pieces)
        body = GoldCommit(CampaignId(campaign.campaign), tree.root, count, Amount(bond))
        wallet = await self.wallet()
        account, fee = await self.client.account(wallet.address), await self.client.estimate(wallet, body)
        needed = count * bond + fee.max_fee
        if account.balance < needed:
            raise FundsError(
                f"the account has {format_omnit(account.balance)}; {count} pieces of gold need {format_omnit(needed)}"
                f" ({format_omnit(bond)} of bond each, which returns)",
                value=wallet.text,
                remedy=f"send at least {format_omnit(needed - account.balance)} to it, or commit to fewer",
            )
        try:
            return await self.client.execute(
                wallet, body, journal=lambda order: self._note_commit(path, order)
            )
        except RefusedError:  # final, and without effect
            self.keep(path, commit=None)
            raise

    async def reveal(self, campaign: int | str) -> list[int]:
        """Answer every batch of a campaign that asks for gold now; their numbers. Raises the first fault after trying all."""
        number = campaign_number(campaign)
        tree = await self.tree(number)
        path = await self.path_of(number)
        floor = self._progress(path).floor
        batches = [
            batch async for batch in self.client.each_campaign_batch(number, since=floor) if batch.round == 1
        ]
        asking = [
            batch for batch in batches if batch.phase == "gold" and self._refused[batch.batch] < REFUSALS_MAX
        ]
        asking.sort(key=lambda batch: batch.gold_until or 0)
        answered: list[int] = []
        faults: list[BaseException] = []
        for start in range(0, len(asking), AT_ONCE):
            some = asking[start : start + AT_ONCE]
            ends = await asyncio.gather(
                *(self._answer(path, tree, batch) for batch in some), return_exceptions=True
            )
            answered += [batch.batch for batch, end in zip(some, ends, strict=True) if end is True]
            faults += [end for end in ends if isinstance(end, BaseException)]
        waiting = [batch.batch for batch in batches if batch.phase not in ("second", "done")]
        self._raise_floor(path, min(waiting, default=batches[-1].batch + 1 if batches else floor))
        if faults:
            raise faults[0]
        return answered

    async def _answer(self, path: Path, tree: Tree, batch: BatchLine) -> bool:
        """Say which items of a batch were gold; False where it does not ask any more."""
        name = str(batch.batch)
        begun = self._progress(path).reveals.get(name)
        inside = (await self.client.batch(batch.batch, 1)).items
        used = set(self._progress(path).used)
        places = {
            tree.places[root]: item.item
            for item in inside
            if (root := item.content.chunk_root) in tree.places and tree.places[root] not in used
        }
        body = GoldReveal(
            BatchId(batch.batch), tuple(tree.opening(place, item) for place, item in places.items())
        )
        try:
            if begun is None or not await self._delivered(begun):
                await self.client.execute(
                    await self.wallet(), body, journal=lambda order: self._note_reveal(path, name, order)
                )
        except RefusedError as error:
            self._note_reveal(path, name, None)
            if error.code == "gold_closed":
                return False
            self._refused[batch.batch] += 1
            if error.code == "gold_used":  # said in a batch before that this disk does not know of
                await self._learn_used(path, tree)
            raise
        self._note_reveal(path, name, None, tuple(places))
        return True

    async def _learn_used(self, path: Path, tree: Tree) -> None:
        """Look up on chain which pieces were said."""
        said = [
            gold.item
            async for batch in self.client.each_campaign_batch(tree.book.campaign)
            for gold in batch.gold
        ]
        roots = [(await self.client.item(item)).content.chunk_root for item in said]
        used = {tree.places[root] for root in roots if root in tree.places}
        self.keep(path, used=sorted({*self._progress(path).used, *used}))

    async def _delivered(self, order: Order) -> bool:
        """See a signed order through; False where it never can be included."""
        try:
            await self.client.deliver(order)
            return True
        except NonceUsedError:
            return False

    async def reveal_loop(self, campaign: int | str) -> int:
        """Answer until the campaign has ended, whatever fails in between; how many batches were answered."""
        answered = 0
        while True:
            try:
                answered += len(await self.reveal(campaign))
                if (await self.client.campaign(campaign)).is_over:
                    return answered
            except (InputError, NotFoundError):
                raise
            except SdkError:
                pass  # a node that is away or behind comes back, and a batch asks for hundreds of blocks
            await self.client.ticker.tick(POLL_S)

    async def retire(self, campaign: int | str) -> results.TransactionResult | None:
        """Open gold that no committee will meet any more, up to 64 pieces, to have its bonds back; None where there is none.

        While the campaign is open those are pieces that were not handed in, and those whose item ended without a verdict.
        """
        number = campaign_number(campaign)
        return await self._retire_some(number, await self.spares(number))

    async def retire_all(self, campaign: int | str) -> int:
        """The same for all of it; how many pieces."""
        number = campaign_number(campaign)
        places = await self.spares(number)
        for start in range(0, len(places), gold_retired_per_order_max):
            await self._retire_some(number, places[start:])
        return len(places)

    async def _retire_some(self, number: int, places: Sequence[int]) -> results.TransactionResult | None:
        opened = places[:gold_retired_per_order_max]
        if not opened:
            return None
        tree, path = await self.tree(number), await self.path_of(number)
        body = GoldRetire(CampaignId(number), tuple(map(tree.spare, opened)))
        found = await self.client.execute(await self.wallet(), body)
        self.keep(path, used=sorted({*self._progress(path).used, *opened}))
        return found

    async def spares(self, campaign: int | str) -> list[int]:
        """Places of the pieces in the book that can be opened unused now."""
        number = campaign_number(campaign)
        tree, path = await self.tree(number), await self.path_of(number)
        return await self._spares(number, tree, set(self._progress(path).used))

    async def _spares(self, number: int, tree: Tree, used: set[int]) -> list[int]:
        """Places of pieces that can be opened now."""
        gold = (await self.client.campaign(number)).gold
        if gold is None or gold.returned + gold.taken >= gold.count:
            return []
        busy: set[int] = set()
        async for item in self.client.each_item(number):
            place = tree.places.get(item.content.chunk_root)
            if place is None:
                continue
            over = item.status == "undecided" or (item.status == "rejected" and item.scores is None)
            if not over:
                busy.add(place)
        free = [place for place in range(len(tree.book.pieces)) if place not in used and place not in busy]
        return free[: gold.count - gold.returned - gold.taken]

    async def run(
        self,
        campaign: int | str,
        source: str | Path | None = None,
        *,
        by: Sequence[Wallet] = (),
        share_bps: int = 1_000,
        sidecar: str | Path | None = None,
        bond_each: int | None = None,
    ) -> GoldRun:
        """Everything about a campaign's gold from wherever it is until the campaign is over: see `GoldRunner`.

        `by`: wallets of the accounts that hand the files in, as the campaign grows, so that they are a share of its items; in a
        private campaign they give reviewers the keys, too.
        """
        from omnitensor.sdk.gold_run import GoldRunner  # which needs this module

        runner = GoldRunner(await self.wallet(), self.client, campaign, by=by, share_bps=share_bps)
        return await runner.run(source, sidecar=sidecar, bond_each=bond_each)

    async def tree(self, campaign: int | str) -> Tree:
        """The answers on this disk, with their tree. Raises NotFoundError."""
        number = campaign_number(campaign)
        if self._tree is None or self._tree.book.campaign != number:
            self._tree = await asyncio.to_thread(Tree, await self.book(number))
        return self._tree

    async def book(self, campaign: int | str) -> GoldBook:
        """The answers on this disk. Raises NotFoundError."""
        path = await self.path_of(campaign_number(campaign))
        book = self._read_book(path)
        if book is None:
            raise NotFoundError(
                "there is no gold of this campaign on this disk",
                value=path,
                remedy="use the machine and home from which it was committed",
            )
        return book

    async def progress(self, campaign: int | str) -> Progress:
        """How far everything has come."""
        return self._progress(await self.path_of(campaign_number(campaign)))

    # -- on disk

    async def path_of(self, campaign: int) -> Path:
        """Where a campaign's book lies."""
        return self.home.work("gold", await self._place(), f"{campaign}.json")

    def _read_book(self, path: Path) -> GoldBook | None:
        return self.home.read(path, GoldBook, book_bytes_max)

    def _progress(self, path: Path) -> Progress:
        return self.home.read(_beside(path), Progress, book_bytes_max) or Progress()

    def keep(self, path: Path, **changes: object) -> Progress:
        """Progress beside a book, changed and on disk."""
        progress = msgspec.structs.replace(self._progress(path), **changes)
        self.home.write(_beside(path), progress)
        return progress

    def _note_commit(self, path: Path, order: Order) -> None:
        self.keep(path, commit=order)

    def _note_reveal(self, path: Path, batch: str, order: Order | None, used: Sequence[int] = ()) -> None:
        progress = self._progress(path)
        reveals = {name: each for name, each in progress.reveals.items() if name != batch}
        if order is not None:
            reveals[batch] = order
        self.keep(path, reveals=reveals, used=sorted({*progress.used, *used}))

    def _raise_floor(self, path: Path, floor: int) -> None:
        progress = self._progress(path)
        if floor > progress.floor:
            reveals = {name: order for name, order in progress.reveals.items() if int(name) >= floor}
            self.keep(path, floor=floor, reveals=reveals)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-progress.json")


def bond_min(spec: results.SpecInfo) -> int:
    """nanoOMNIT that a piece of gold must lay down: what a first round of the highest tier may cost."""
    return spec.first_seats * (spec.review_fee * max(spec.tier_bps) // BPS)


def pieces_from(campaign: results.Campaign, source: Path, sidecar: str | Path | None = None) -> list[Piece]:
    """The answers of a folder or file, each file checked as an item of the campaign, with new salts. Raises FaultsError."""
    if campaign.status != "open":
        raise CampaignStateError(
            f"the campaign is {campaign.status} and takes no gold",
            value=campaign.campaign,
            remedy="commit before it closes",
        )
    faults: list[Fault] = []
    pieces: dict[str, Piece] = {}
    for answer in answers_in(source, None if sidecar is None else Path(sidecar)):
        try:
            piece = _piece(campaign, answer)
        except InputError as error:
            faults.append(Fault(answer.where, error.reason, error.value, error.remedy))
            continue
        twin = pieces.setdefault(piece.chunk_root, piece)
        if twin is not piece:
            faults.append(
                Fault(
                    answer.where,
                    f"the file has the same bytes as {twin.name}",
                    str(answer.path),
                    "give each once",
                )
            )
    if faults:
        raise FaultsError(faults)
    return list(pieces.values())


def _piece(campaign: results.Campaign, answer: Answer) -> Piece:
    tier = bundles.choose_tier(campaign.spec, answer.tier)
    category = bundles.choose_category(campaign.spec, answer.category)
    item = bundles.declare(answer.path, campaign, tier=tier, category=category)
    if campaign.spec.is_private:
        check_sealed_size(answer.path, sealed_size(item.size), campaign)
    return Piece.new(item.chunk_root, answer.bits, str(answer.path), tier, category)


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

    check = blocking(AsyncGold.check)
    commit = blocking(AsyncGold.commit)
    reveal = blocking(AsyncGold.reveal)
    reveal_loop = blocking(AsyncGold.reveal_loop)
    retire = blocking(AsyncGold.retire)
    retire_all = blocking(AsyncGold.retire_all)
    run = blocking(AsyncGold.run)
    book = blocking(AsyncGold.book)
    progress = blocking(AsyncGold.progress)
