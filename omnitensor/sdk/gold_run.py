"""A campaign's gold from a folder to the last bond, in one procedure that may be stopped anywhere and goes on when run again.

It binds the campaign, hands the files in from other accounts as the campaign grows, answers every batch that asks, and opens what
was never met. Answering runs beside handing in, so that nothing that is slow or fails there makes it miss a batch; so does giving
reviewers the keys of what was handed in to a private campaign.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import SystemRandom
from typing import Final

import msgspec

from omnitensor.protocol.limits import submission_items_max
from omnitensor.protocol.types import BPS
from omnitensor.sdk import results
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.contributor import AsyncContributor
from omnitensor.sdk.errors import InputError, NotFoundError, RefusedError, SdkError
from omnitensor.sdk.gold import REFUSALS_MAX, AsyncGold
from omnitensor.sdk.gold_book import HandIn, Piece, Tree
from omnitensor.sdk.gold_private import check_accounts
from omnitensor.sdk.orders import POLL_S
from omnitensor.sdk.private import AsyncPrivate, PrivateMoment
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.wallet import Wallet

SHARE_BPS: Final = 1_000
"""One item in ten."""
RETRY_S: Final = 5.0
"""Between a hand-in that failed and the next try."""


class GoldMoment(msgspec.Struct, frozen=True):
    """Something to show: `kind` is bound, handed_in, keys, answered, retired, trouble or over."""

    kind: str
    text: str
    count: int = 0
    batch: int | None = None


class GoldRun(results.Result, frozen=True):
    """What became of a campaign's gold in one run."""

    campaign: int
    pieces: int
    handed_in: int
    answered: int
    retired: int
    returned: int
    burned: int


Watch = Callable[[GoldMoment], None]


class GoldRunner:
    """One campaign's gold under way. `by` are the accounts that hand the files in; without any somebody else does."""

    def __init__(
        self,
        wallet: Wallet,
        client: AsyncClient,
        campaign: int | str,
        *,
        by: Sequence[Wallet] = (),
        share_bps: int = SHARE_BPS,
        watch: Watch | None = None,
    ) -> None:
        if not 0 < share_bps <= BPS:
            raise InputError("a share is above 0 and at most 100 %", value=f"{share_bps / 100:g} %")
        self._gold = AsyncGold(wallet, client=client)
        self._client = client
        self._number = campaign_number(campaign)
        self._wallets = list(by)
        self._by = [AsyncContributor(each, client=client) for each in by]
        self._share_bps = share_bps
        self._watch = watch or (lambda moment: None)
        self._chance = SystemRandom()
        self._handed_in = self._answered = self._retired = 0
        self._refused: Counter[int] = Counter()
        self._trouble = ""

    async def run(
        self,
        source: str | Path | None = None,
        *,
        sidecar: str | Path | None = None,
        bond_each: int | None = None,
    ) -> GoldRun:
        """From wherever it is to its end. `source` as for `AsyncGold.commit`; not needed once the campaign is bound.

        Raises FaultsError, InputError, FundsError or RefusedError while it binds; later only what no waiting mends.
        """
        await self._check_accounts()
        path = await self._gold.path_of(self._number)
        with self._gold.home.locked(path.with_name(f"{path.stem}-run")):
            await self._bind(source, sidecar, bond_each)
            tree = await self._gold.tree(self._number)
            handing = asyncio.create_task(self._hand_in_all(tree), name="gold-hand-in")
            giving = await self._give_keys()
            try:
                await self._answer_to_the_end(handing)
            finally:
                for task in (handing, *giving):
                    task.cancel()
                await asyncio.gather(handing, *giving, return_exceptions=True)
            await self._retire_rest()
            return await self._outcome(tree)

    async def _check_accounts(self) -> None:
        check_accounts((await self._gold.wallet()).text, [await each.wallet() for each in self._by])

    async def _bind(
        self, source: str | Path | None, sidecar: str | Path | None, bond_each: int | None
    ) -> None:
        campaign = await self._client.campaign(self._number)
        if campaign.gold is not None:
            tree = await self._gold.tree(self._number)
            if tree.root.hex() != campaign.gold.root:
                raise InputError(
                    "the campaign is bound to other answers than those on this disk",
                    value=self._number,
                    remedy="use the machine and home from which it was committed",
                )
            self._say("bound", f"bound to {campaign.gold.count} answers already", campaign.gold.count)
            return
        if source is None:
            raise InputError(
                "the campaign has no gold yet", value=self._number, remedy="name a folder with --from"
            )
        await self._gold.commit(self._number, source, sidecar=sidecar, bond_each=bond_each, by=self._wallets)
        count = len((await self._gold.book(self._number)).pieces)
        self._say("bound", f"the campaign is bound to {count} answers", count)

    async def _give_keys(self) -> list[asyncio.Task[int]]:
        """In a private campaign, what gives each account's keys to the seats that are drawn."""
        if not (await self._client.campaign(self._number)).spec.is_private:
            return []
        return [
            asyncio.create_task(
                AsyncPrivate(each, client=self._client).watch(watch=self._tell_keys), name="gold-keys"
            )
            for each in self._wallets
        ]

    def _tell_keys(self, moment: PrivateMoment) -> None:
        if moment.kind == "given":
            self._say("keys", moment.text, batch=moment.batch)
        else:
            self._say_trouble(moment.text)

    # -- answering

    async def _answer_to_the_end(self, handing: asyncio.Task[None]) -> None:
        """Answers each batch that asks, until the campaign is over and nobody hands in any more. No fault of a node ends it."""
        while True:
            if handing.done() and not handing.cancelled() and (error := handing.exception()) is not None:
                raise error
            try:
                for batch in await self._gold.reveal(self._number):
                    self._answered += 1
                    self._say("answered", f"batch {batch} is answered", batch=batch)
                if (await self._client.campaign(self._number)).is_over:
                    return
            except (InputError, NotFoundError):
                raise
            except SdkError as error:
                self._say_trouble(str(error))
            await self._client.ticker.tick(POLL_S)

    # -- handing in

    async def _hand_in_all(self, tree: Tree) -> None:
        """Hands pieces in as the campaign grows, until all are or it takes no more."""
        if not self._by:
            return
        while True:
            try:
                campaign = await self._client.campaign(self._number)
                await self._finish_begun(tree)
                if campaign.status != "open":
                    return
                left = await self._not_planned(tree)
                here = [place for place in left if self._who_may(tree.book.pieces[place])]
                if len(here) < len(left):
                    self._say_trouble(
                        f"{len(left) - len(here)} pieces were bound for accounts not named here"
                    )
                if not here:
                    return
                due = min(await self._due(campaign, tree, len(left)), len(here))
                if due:
                    await self._hand_in_some(tree, self._chance.sample(here, due))
            except SdkError as error:
                self._say_trouble(f"handing in: {error}")
                await asyncio.sleep(RETRY_S)
            await self._client.ticker.tick(POLL_S)

    def _who_may(self, piece: Piece) -> list[int]:
        """Places of the accounts that can hand a piece in: a private one's, that whose key encrypts it."""
        keys = [wallet.public.hex() for wallet in self._wallets]
        return [who for who, key in enumerate(keys) if piece.signer in ("", key)]

    async def _due(self, campaign: results.Campaign, tree: Tree, left: int) -> int:
        """How many pieces to hand in now, so that they are the wanted share of what the campaign has."""
        if self._share_bps == BPS:
            return min(left, submission_items_max)
        planned = len(tree.book.pieces) - left
        others = max(0, campaign.counts.get("submitted", 0) - planned)
        wanted = -(-others * self._share_bps // (BPS - self._share_bps))
        return max(0, min(left, wanted - planned, submission_items_max))

    async def _not_planned(self, tree: Tree) -> list[int]:
        """Pieces that nobody here has begun to hand in, and that are on chain by nobody's doing."""
        progress = await self._gold.progress(self._number)
        planned = {place for each in progress.hand_ins for place in each.places}
        return [place for place in range(len(tree.book.pieces)) if place not in planned]

    async def _hand_in_some(self, tree: Tree, places: Sequence[int]) -> None:
        """Plans who hands these in, on disk, and does it. Pieces of one tier and category go together."""
        progress = await self._gold.progress(self._number)
        plans: dict[tuple[int, object, object], list[int]] = {}
        for place in places:
            piece = tree.book.pieces[place]
            who = self._chance.choice(self._who_may(piece))
            plans.setdefault((who, piece.tier, piece.category), []).append(place)
        fresh = [HandIn((await self._by[who].wallet()).text, group) for (who, _, _), group in plans.items()]
        path = await self._gold.path_of(self._number)
        self._gold.keep(path, hand_ins=[*progress.hand_ins, *fresh])
        await self._finish_begun(tree)

    async def _finish_begun(self, tree: Tree) -> None:
        """Sees every planned hand-in through. One that fails holds up no other; the first fault is raised after all of them."""
        faults: list[SdkError] = []
        for place, plan in enumerate((await self._gold.progress(self._number)).hand_ins):
            able = [self._by[who] for who in self._who_may(tree.book.pieces[plan.places[0]])]
            contributors = [each for each in able if (await each.wallet()).text == plan.account]
            if plan.done or not contributors or self._refused[place] >= REFUSALS_MAX:
                continue
            try:
                await self._hand_in(tree, place, plan, contributors[0])
            except SdkError as error:
                self._refused[place] += isinstance(error, RefusedError)
                faults.append(error)
        if faults:
            raise faults[0]

    async def _hand_in(self, tree: Tree, place: int, plan: HandIn, contributor: AsyncContributor) -> None:
        """One submission, which resumes where it was, unless it is on chain already."""
        pieces = [tree.book.pieces[each] for each in plan.places]
        if not await self._is_on_chain(plan.account, pieces):
            first = pieces[0]
            names = [piece.name for piece in pieces]
            await self._check_unchanged(contributor, pieces)
            await contributor.upload(self._number, names, tier=first.tier, category=first.category)
        hand_ins = list((await self._gold.progress(self._number)).hand_ins)
        hand_ins[place] = msgspec.structs.replace(plan, done=True)
        self._gold.keep(await self._gold.path_of(self._number), hand_ins=hand_ins)
        self._handed_in += len(pieces)
        self._say("handed_in", f"{len(pieces)} pieces are handed in", len(pieces))

    async def _check_unchanged(self, contributor: AsyncContributor, pieces: Sequence[Piece]) -> None:
        """What would be handed in is what the campaign is bound to. Raises InputError."""
        first, names = pieces[0], [piece.name for piece in pieces]
        planned = await contributor.plan(self._number, names, tier=first.tier, category=first.category)
        wanted = {piece.chunk_root for piece in pieces}
        for item in planned:
            if item.chunk_root not in wanted:
                raise InputError(
                    "the file is not as the campaign was bound to it",
                    value=item.path,
                    remedy="put the file back as it was: its bond returns unused otherwise",
                )

    async def _is_on_chain(self, account: str, pieces: Sequence[Piece]) -> bool:
        """Whether an account's items have all of these contents."""
        items = await self._client.account_items(account, campaign=self._number)
        return {piece.chunk_root for piece in pieces} <= {item.content.chunk_root for item in items}

    # -- the end

    async def _retire_rest(self) -> None:
        """Opens what was never met, soon after the end: later its bonds burn."""
        while True:
            try:
                self._retired += (count := await self._gold.retire_all(self._number))
                if count:
                    self._say("retired", f"{count} unused pieces are opened", count)
                return
            except (InputError, NotFoundError):
                raise
            except SdkError as error:
                self._say_trouble(str(error))
                await self._client.ticker.tick(POLL_S)

    async def _outcome(self, tree: Tree) -> GoldRun:
        gold = (await self._client.campaign(self._number)).gold
        found = GoldRun(
            campaign=self._number,
            pieces=len(tree.book.pieces),
            handed_in=self._handed_in,
            answered=self._answered,
            retired=self._retired,
            returned=gold.returned if gold else 0,
            burned=gold.taken if gold else 0,
        )
        self._say("over", f"the campaign is over: {found.returned} bonds returned, {found.burned} burned")
        return found

    def _say_trouble(self, text: str) -> None:
        """The same trouble is said once."""
        if text != self._trouble:
            self._trouble = text
            self._say("trouble", f"{text}; trying again")

    def _say(self, kind: str, text: str, count: int = 0, batch: int | None = None) -> None:
        self._watch(GoldMoment(kind, text, count, batch))
