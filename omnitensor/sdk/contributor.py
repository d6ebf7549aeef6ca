"""Contributing: files to a campaign, from the first check to the revealed submission, resumable at every step.

Each step is on disk before it is taken: a process that dies anywhere goes on where it was when the same files are given
again (or with `resume`), and never commits, reveals or pays twice.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from pathlib import Path
from typing import Literal

import msgspec

from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.bodies import Body, SubmissionCommit, SubmissionReveal
from omnitensor.protocol.content import cid_v1
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import CampaignId, Hash
from omnitensor.sdk import bundles, results
from omnitensor.sdk.actor import AsyncActor, async_of, made_in_loop
from omnitensor.sdk.bundles import BundleItem
from omnitensor.sdk.client import Client
from omnitensor.sdk.content import upload_file
from omnitensor.sdk.errors import CampaignStateError, FundsError, InputError, NonceUsedError, RefusedError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import Blocking, blocking
from omnitensor.sdk.orders import Order
from omnitensor.sdk.results import hash_of
from omnitensor.sdk.sealing import seal_for_upload, sealed_item
from omnitensor.sdk.wallet import Wallet

Stage = Literal["planned", "uploaded", "committed", "revealed", "lapsed"]


class Moment(msgspec.Struct, frozen=True):
    """Something to show while a submission is on its way: a stage, or bytes of a file.

    `unread` names a library that is missing, `done` of `total` files can't be looked into without it.
    """

    stage: str
    text: str
    path: str = ""
    done: int = 0
    total: int = 0


Watch = Callable[[Moment], None]


class Job(msgspec.Struct, frozen=True):
    """A submission under way, as it lies on disk."""

    genesis_hash: str
    account: str
    campaign: int
    salt: str
    commitment: str
    items: list[BundleItem]
    stage: Stage = "planned"
    commit: Order | None = None
    reveal: Order | None = None
    committed_at: int = 0
    revealed_at: int = 0


class Submission(msgspec.Struct, frozen=True):
    """A submission that is on chain: what was given, and the transactions."""

    campaign: int
    commitment: str
    commit_tx: str
    reveal_tx: str
    height: int
    items: list[BundleItem]
    fees: int = 0
    """nanoOMNIT that both transactions burned or tipped, as far as this run saw them."""

    def cids(self) -> list[str]:
        """The CID of each file, in order."""
        return [cid_v1(hash_of(item.sha256)) for item in self.items]


class AsyncContributor(AsyncActor):
    """Submits files to campaigns, and says what became of them."""

    async def plan(
        self,
        campaign: int | str,
        files: Iterable[str | Path],
        *,
        tier: int | None = None,
        category: str | int | None = None,
        media_type: str | None = None,
        watch: Watch | None = None,
    ) -> list[BundleItem]:
        """Check the files against the campaign, for nothing. Raises FileError, CampaignStateError or InputError.

        `watch` is told once of each library that is missing to look into some of them (`unread`).
        """
        found = await self.client.campaign(campaign)
        tier_index = bundles.choose_tier(found.spec, tier)
        category_index = bundles.choose_category(found.spec, category)
        unread: Counter[str] = Counter()

        def look() -> list[BundleItem]:
            return [
                bundles.declare(
                    path,
                    found,
                    tier=tier_index,
                    category=category_index,
                    media_type=media_type,
                    unread=lambda reason: unread.update([reason]),
                )
                for path in bundles.gather(files)
            ]

        items = await asyncio.to_thread(look)
        for reason, count in unread.items():
            (watch or _quiet)(Moment("unread", reason, done=count, total=len(items)))
        if found.spec.is_private:
            wallet, chain_id = await self.wallet(), await self.client.chain_id()
            items = await asyncio.to_thread(
                lambda: [sealed_item(item, found, wallet, chain_id) for item in items]
            )
        bundles.check_distinct(items)
        return items

    async def upload(
        self,
        campaign: int | str,
        files: Iterable[str | Path],
        *,
        tier: int | None = None,
        category: str | int | None = None,
        media_type: str | None = None,
        watch: Watch | None = None,
    ) -> list[Submission]:
        """Submit files: check, upload, commit, reveal; returns when the reveal is final. One submission for each 256 files.

        Given the same files again after an interruption it goes on; after success it raises InputError.
        """
        items = await self.plan(
            campaign, files, tier=tier, category=category, media_type=media_type, watch=watch
        )
        found = await self.client.campaign(campaign)
        jobs = [await self._job(found, bundle) for bundle in bundles.split(items)]
        fresh = [job for _, job in jobs if job.commit is None]
        await self._check_affordable(found, fresh)
        return [await self._run(path, job, watch) for path, job in jobs]

    def pending(self) -> list[Job]:
        """Submissions of this home that were begun and not finished, of any account and chain."""
        return [job for _, job in self._unfinished()]

    async def resume(self, *, watch: Watch | None = None) -> list[Submission]:
        """Finish every unfinished submission of this account on this chain."""
        wallet, identity = await self.wallet(), await self.client.identity()
        return [
            await self._run(path, job, watch)
            for path, job in self._unfinished()
            if (job.account, job.genesis_hash) == (wallet.text, identity.genesis_hash)
        ]

    async def items(self, campaign: int | str) -> list[results.Item]:
        """This account's items in a campaign, with their statuses and reasons."""
        return await self.client.items(campaign, contributor=(await self.wallet()).address)

    async def job_path(self, campaign: int, items: Sequence[BundleItem]) -> Path:
        """Where the submission of these items is kept while it is under way."""
        name = f"{campaign}-{_root(items).hex()[:32]}.json"
        return self.home.work("submissions", await self._place(), name)

    # -- one submission

    async def _job(self, campaign: results.Campaign, items: Sequence[BundleItem]) -> tuple[Path, Job]:
        """The job of these items: the one on disk, or a new one. Raises InputError when it was finished before."""
        wallet, identity = await self.wallet(), await self.client.identity()
        root = _root(items)
        path = await self.job_path(campaign.campaign, items)
        job = self.home.read(path, Job)
        if job is not None and job.stage == "revealed":
            raise InputError(
                f"these files were submitted to campaign {campaign.campaign} already (height {job.revealed_at})",
                value=items[0].path,
                remedy=f"see otensor-cli check-status --task-id {campaign.campaign}",
            )
        if job is None or job.stage == "lapsed" or job.items != list(items):
            kept = job if job is not None and job.commit is not None and job.stage != "lapsed" else None
            if kept is not None:  # only paths differ: the root binds the rest
                return path, msgspec.structs.replace(kept, items=list(items))
            salt = Hash(secrets.token_bytes(32))
            commitment = submission_commitment(
                identity.chain_id, campaign.campaign, root, wallet.address, salt
            )
            job = Job(
                identity.genesis_hash,
                wallet.text,
                campaign.campaign,
                salt.hex(),
                commitment.hex(),
                list(items),
            )
        return path, job

    async def _check_affordable(self, campaign: results.Campaign, jobs: Sequence[Job]) -> None:
        """Everything about money and time that can be known beforehand. Raises CampaignStateError or FundsError."""
        if not jobs:
            return
        status, wallet = await self.client.status(), await self.wallet()
        bundles.check_open(campaign, status.height)
        everything = [item for job in jobs for item in job.items]
        bundles.check_budget(campaign, everything)
        account = await self.client.account(wallet.address)
        fees = [
            await self.client.estimate(wallet, body) for job in jobs for body in (_commit(job), _reveal(job))
        ]
        needed = campaign.spec.item_bond * len(everything) + sum(fee.max_fee for fee in fees)
        if account.balance < needed:
            raise FundsError(
                f"the account has {format_omnit(account.balance)}; submitting {_items(everything)} needs"
                f" {format_omnit(needed)} (bonds, which return, and at most"
                f" {format_omnit(sum(fee.max_fee for fee in fees))} of fees)",
                value=wallet.text,
                remedy=f"send at least {format_omnit(needed - account.balance)} to it, or submit fewer items",
            )

    async def _run(self, path: Path, job: Job, watch: Watch | None) -> Submission:
        with self.home.locked(path):
            job = self._newest(path, job)
            tell = watch or _quiet
            if job.stage == "planned":
                self.home.write(path, job)
            if (
                job.stage != "revealed"
            ):  # asked again when going on: a node drops what nobody submitted in time
                await self._upload_all(job, tell)
            if job.stage == "planned":
                job = self._keep(path, job, stage="uploaded")
            fees = 0
            if job.stage == "uploaded":
                tell(Moment("commit", f"committing to {_items(job.items)}"))
                job, paid = await self._order(path, job, "commit", _commit(job))
                fees += paid.receipt.fee + paid.receipt.tip if paid.receipt else 0
                job = self._keep(path, job, stage="committed", committed_at=paid.height or 0)
            if job.stage == "committed":
                tell(Moment("reveal", f"revealing {_items(job.items)}"))
                await self._check_window(path, job)
                job, paid = await self._order(path, job, "reveal", _reveal(job))
                fees += paid.receipt.fee + paid.receipt.tip if paid.receipt else 0
                job = self._keep(path, job, stage="revealed", revealed_at=paid.height or 0)
            tell(Moment("done", f"submitted at height {job.revealed_at}"))
            assert job.commit is not None and job.reveal is not None
            return Submission(
                job.campaign,
                job.commitment,
                job.commit.id,
                job.reveal.id,
                job.revealed_at,
                job.items,
                fees,
            )

    async def _upload_all(self, job: Job, tell: Watch) -> None:
        wallet, chain_id = await self.wallet(), await self.client.chain_id()
        for item in job.items:
            path = source = Path(item.path)
            if item.private is not None:
                source = self.home.work("sealed", await self._place(), f"{item.chunk_root[:32]}.sealed")
                await asyncio.to_thread(seal_for_upload, item, wallet, chain_id, job.campaign, source)

            def progress(done: int, total: int, path: Path = path) -> None:
                tell(Moment("upload", path.name, str(path), done, total))

            def waits(reason: str, path: Path = path) -> None:
                tell(Moment("waiting", reason, str(path)))

            await upload_file(self.client.transport, wallet, chain_id, source, item.content, progress, waits)
            if item.private is not None:
                source.unlink(missing_ok=True)

    async def _order(
        self, path: Path, job: Job, name: Literal["commit", "reveal"], body: Body
    ) -> tuple[Job, results.TransactionResult]:
        """See one of the two transactions through: the one on disk, or one signed now and put there before it is sent."""
        saved: Order | None = getattr(job, name)
        if saved is not None:
            try:
                return job, await self.client.deliver(saved)
            except NonceUsedError:
                pass  # it can never be included, so another may be signed
            except RefusedError:
                self._keep(path, job, **{name: None})
                raise
        newest = job

        def journal(order: Order) -> None:
            nonlocal newest
            newest = self._keep(path, job, **{name: order})

        try:
            found = await self.client.execute(await self.wallet(), body, journal=journal)
        except RefusedError:  # final, and without effect: the next attempt signs another
            self._keep(path, job, **{name: None})
            raise
        return newest, found

    async def _check_window(self, path: Path, job: Job) -> None:
        """That a commitment can still be opened. Raises CampaignStateError, after which the files can be given anew."""
        if job.reveal is not None:
            return
        window = (await self.client.params()).submission_reveal_blocks
        height = (await self.client.status()).height
        if height > job.committed_at + window:
            self._keep(path, job, stage="lapsed")
            raise CampaignStateError(
                f"the commitment of height {job.committed_at} was not revealed within {window} blocks",
                value=job.commitment,
                remedy="give the same files again: they are committed to anew",
            )

    def _keep(self, path: Path, job: Job, **changes: object) -> Job:
        job = msgspec.structs.replace(job, **changes)
        self.home.write(path, job)
        return job

    def _newest(self, path: Path, job: Job) -> Job:
        """What another process may have written since: it is as far or further, or of the same items with another salt.

        Committing to them anew would only make duplicates of them, which cost their bonds.
        """
        found = self.home.read(path, Job)
        if found is None or (found.commitment != job.commitment and found.stage == "lapsed"):
            return job
        return msgspec.structs.replace(found, items=job.items)  # the same files, perhaps in another place

    def _unfinished(self) -> list[tuple[Path, Job]]:
        folder = self.home.folder / "work" / "submissions"
        found = []
        for path in sorted(folder.glob("*/*.json")) if folder.is_dir() else ():
            job = self.home.read(path, Job)
            if job is not None and job.stage not in ("revealed", "lapsed"):
                found.append((path, job))
        return found


def _root(items: Sequence[BundleItem]) -> Hash:
    return items_root(tuple(item.declaration for item in items))


def _commit(job: Job) -> SubmissionCommit:
    return SubmissionCommit(CampaignId(job.campaign), hash_of(job.commitment), len(job.items))


def _reveal(job: Job) -> SubmissionReveal:
    return SubmissionReveal(
        CampaignId(job.campaign),
        hash_of(job.commitment),
        hash_of(job.salt),
        tuple(item.declaration for item in job.items),
    )


def _items(items: Sized) -> str:
    return "1 item" if len(items) == 1 else f"{len(items)} items"


def _quiet(_: Moment) -> None:
    """Shows nothing."""


class Contributor(Blocking[AsyncContributor]):
    """The blocking twin of AsyncContributor."""

    def __init__(
        self,
        wallet: Wallet | None = None,
        *,
        api_key: str | None = None,
        endpoint: str | None = None,
        client: Client | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        super().__init__(
            made_in_loop(
                lambda: AsyncContributor(
                    wallet, api_key=api_key, endpoint=endpoint, client=async_of(client), home=home
                )
            )
        )

    def pending(self) -> list[Job]:
        """Submissions of this home that were begun and not finished."""
        return self.asynchronous.pending()

    plan = blocking(AsyncContributor.plan)
    upload = blocking(AsyncContributor.upload)
    resume = blocking(AsyncContributor.resume)
    items = blocking(AsyncContributor.items)
    job_path = blocking(AsyncContributor.job_path)
