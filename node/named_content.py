"""Which content the chain names, and for how long a node keeps it: by the state of the items, campaigns and jobs that name it.

Reads the state; touches no bytes.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from omnitensor.protocol.content import ContentId
from omnitensor.protocol.types import Hash
from state.reader import Reader
from state.records_review import Campaign, Item, ItemStatus
from state.records_work import JOBS_ENDED, Job
from state.schema import (
    CAMPAIGNS,
    CAMPAIGNS_BY_CONTENT,
    ITEMS,
    ITEMS_BY_CONTENT,
    JOBS,
    JOBS_BY_CONTENT,
    OUTPUTS_BY_CONTENT,
    PRIVATE_ITEMS,
    WORK_OUTPUTS,
    number,
)

NAMES_TRIED_MAX: Final = 4
"""Different declarations of one chunk root that are believed possible; each cost its contributor a bond."""
NAMES_LOOKED_AT_MAX: Final = 1_024
"""Items and campaigns that are asked whether a content is still wanted. One that more of them name is kept."""
_UNDER_WAY: Final = (ItemStatus.REVEALED, ItemStatus.QUEUED, ItemStatus.IN_REVIEW, ItemStatus.ESCALATED)
_ACCEPTED: Final = (ItemStatus.ACCEPTED, ItemStatus.PAID)


def contents_named(reader: Reader, chunk_root: Hash) -> tuple[ContentId, ...]:
    """What items, campaigns, jobs and outputs declare of a chunk root, the earliest first.

    More than one when somebody lied about size or SHA-256.
    """
    found: dict[ContentId, None] = {}
    for item in islice(_items(reader, chunk_root), NAMES_TRIED_MAX):
        found[item.content] = None
    for campaign in islice(_campaigns(reader, chunk_root), NAMES_TRIED_MAX):
        for named in campaign.spec.contents:
            if named.chunk_root == chunk_root:
                found[named] = None
    for job in islice(_jobs(reader, chunk_root), NAMES_TRIED_MAX):
        for content in (job.model, job.data):
            if content is not None and content.chunk_root == chunk_root:
                found[content] = None
    for key, _ in islice(reader.scan(OUTPUTS_BY_CONTENT, chunk_root), NAMES_TRIED_MAX):
        shown = reader.get(WORK_OUTPUTS, key)
        if shown is not None and shown.content is not None:
            found[shown.content] = None
    return tuple(found)


def is_named(reader: Reader, chunk_root: Hash) -> bool:
    """Whether an item, a campaign, a job or shown outputs name it, whatever became of them."""
    indexes = (ITEMS_BY_CONTENT, CAMPAIGNS_BY_CONTENT, JOBS_BY_CONTENT, OUTPUTS_BY_CONTENT)
    return any(next(iter(reader.scan(index, chunk_root)), None) is not None for index in indexes)


def is_wanted(reader: Reader, chunk_root: Hash, keep_blocks: int) -> bool:
    """Whether a node keeps content that the chain names.

    While an item that names it is being judged or its verdict can be appealed; where one was accepted, or a campaign names it as
    its specification or model, until ``keep_blocks`` after the campaign's end (0: for good). What was rejected for good is not.
    A job's bytes are kept until it has ended, and outputs as long as the chain has their receipt.
    """
    for place, item in enumerate(_items(reader, chunk_root), 1):
        if place > NAMES_LOOKED_AT_MAX or item.status in _UNDER_WAY or item.open_verdict:
            return True
        campaign = reader.get(CAMPAIGNS, item.campaign)
        if item.status in _ACCEPTED and campaign is not None and _lasts(reader, campaign, keep_blocks):
            return True
    if any(
        _lasts(reader, campaign, keep_blocks)
        for campaign in islice(_campaigns(reader, chunk_root), NAMES_LOOKED_AT_MAX)
    ):
        return True
    jobs = islice(_jobs(reader, chunk_root), NAMES_LOOKED_AT_MAX)
    if any(job.status not in JOBS_ENDED for job in jobs):
        return True
    return next(iter(reader.scan(OUTPUTS_BY_CONTENT, chunk_root)), None) is not None


def is_encrypted(reader: Reader, chunk_root: Hash) -> bool:
    """Whether it was handed in encrypted, so that its bytes tell nothing."""
    key, _ = next(iter(reader.scan(ITEMS_BY_CONTENT, chunk_root)), (b"", None))
    return key != b"" and reader.get(PRIVATE_ITEMS, number(key)) is not None


def is_accepted(reader: Reader, chunk_root: Hash) -> bool:
    """Whether an item of this content was accepted."""
    looked_at = islice(_items(reader, chunk_root), NAMES_LOOKED_AT_MAX)
    return any(item.status in _ACCEPTED for item in looked_at)


def _lasts(reader: Reader, campaign: Campaign, keep_blocks: int) -> bool:
    """Whether a campaign goes on, or ended so lately that its data are kept."""
    return not keep_blocks or not campaign.ended_at or reader.head.height < campaign.ended_at + keep_blocks


def _items(reader: Reader, chunk_root: Hash) -> Iterator[Item]:
    for key, _ in reader.scan(ITEMS_BY_CONTENT, chunk_root):
        item = reader.get(ITEMS, number(key))
        if item is not None:
            yield item


def _jobs(reader: Reader, chunk_root: Hash) -> Iterator[Job]:
    for key, _ in reader.scan(JOBS_BY_CONTENT, chunk_root):
        job = reader.get(JOBS, key)
        if job is not None:
            yield job


def _campaigns(reader: Reader, chunk_root: Hash) -> Iterator[Campaign]:
    for key, _ in reader.scan(CAMPAIGNS_BY_CONTENT, chunk_root):
        campaign = reader.get(CAMPAIGNS, number(key))
        if campaign is not None:
            yield campaign
