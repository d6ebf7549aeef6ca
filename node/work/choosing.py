"""Which units a worker may take now, by the chain's rules: jobs first, what was drawn for it before all, then synthetic work.

Reads the state; takes and computes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from omnitensor.protocol.epochs import epoch_of
from omnitensor.protocol.rows_work import Job, JobStatus
from omnitensor.protocol.types import Address, Hash, Height
from omnitensor.protocol.work import JobKind, assigned, synthetic_job
from state.reader import Reader
from state.schema import JOBS, JOBS_BY_STATUS, WORK_RECEIPTS, WORK_UNITS, WORKER_LISTS

UNITS_LOOKED_AT_MAX: Final = 512
"""In one turn, over all of the chain's own jobs, and as many over those that people posted."""
DEADLINE_MARGIN: Final = 2
"""Blocks that a unit takes at least until its receipt is in one."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A unit that may be taken."""

    job: Hash
    unit: int
    kind: JobKind


def choices(
    reader: Reader,
    chain_id: str,
    worker: Address,
    taken: Container[tuple[Hash, int]],
    most: int,
    jobs_most: int,
    synthetic_most: int,
) -> list[Choice]:
    """So many at most, the most worthwhile first; none of those in ``taken``.

    Of jobs there are ``jobs_most`` of them; synthetic ones fill what these leave, ``synthetic_most`` of them.
    """
    found = list(islice(_of_jobs(reader, worker, taken), max(0, min(most, jobs_most))))
    fill = max(0, min(most - len(found), synthetic_most))
    return found + list(islice(_synthetic(reader, chain_id, worker, taken), fill))


def _of_jobs(reader: Reader, worker: Address, taken: Container[tuple[Hash, int]]) -> Iterator[Choice]:
    """The chain's own first, which review waits for; of each kind what was drawn for the worker before what is anybody's."""
    height, own, posted = reader.head.height, list[tuple[Hash, Job]](), list[tuple[Hash, Job]]()
    for key, _ in reader.scan(JOBS_BY_STATUS, JobStatus.OPEN):
        job = reader.get(JOBS, Hash(key))
        if job is not None and job.deadline >= height + DEADLINE_MARGIN:
            (posted if job.poster else own).append((Hash(key), job))
    for jobs in (own, posted):
        later = list[Choice]()
        for place, unit in some_units([job.units for _, job in jobs], height):
            job_id, job = jobs[place]
            if (job_id, unit) in taken or not _is_wanted(reader, job, job_id, unit, worker):
                continue
            choice = Choice(job_id, unit, JobKind(job.kind))
            if worker in _drawn(reader, job, job_id, unit):
                yield choice
            elif height + 1 > job.opened_at + reader.params().work_assigned_blocks:
                later.append(choice)
        yield from later


def some_units(jobs: Sequence[int], height: int) -> Iterator[tuple[int, int]]:
    """Which units are looked at in a turn, of jobs of so many units each: a like share of each job, by its place and the unit.

    So no job hides another, nor its own last units: of a job with more than its share the next ones follow with each block.
    """
    rounds = -(-len(jobs) // UNITS_LOOKED_AT_MAX)
    for place in range(height % max(1, rounds), len(jobs), max(1, rounds)):
        units, share = jobs[place], max(1, UNITS_LOOKED_AT_MAX // len(jobs))
        start = height // rounds * share if units > share else 0
        for step in range(min(share, units)):
            yield place, (start + step) % units


def _is_wanted(reader: Reader, job: Job, job_id: Hash, unit: int, worker: Address) -> bool:
    """Whether a replica is missing, can still come, and the worker has not committed to this unit before."""
    row = reader.get(WORK_UNITS, job_id, unit)
    if row is not None and (row.shown or row.receipts >= job.replicas):
        return False
    return reader.get(WORK_RECEIPTS, job_id, unit, worker) is None


def is_open_to(reader: Reader, job_id: Hash, unit: int, worker: Address) -> bool:
    """Whether a unit that the worker has taken still takes its receipt."""
    job = reader.get(JOBS, job_id)
    return job is not None and job.status == JobStatus.OPEN and _is_wanted(reader, job, job_id, unit, worker)


def _drawn(reader: Reader, job: Job, job_id: Hash, unit: int) -> tuple[Address, ...]:
    """Whom a unit was drawn for."""
    row = reader.get(WORKER_LISTS, job.opened_epoch)
    if row is None:
        return ()
    places = assigned(Hash(job.beacon), job_id, unit, len(row.workers), job.replicas)
    return tuple(Address(row.workers[place]) for place in places)


def _synthetic(
    reader: Reader, chain_id: str, worker: Address, taken: Container[tuple[Hash, int]]
) -> Iterator[Choice]:
    params = reader.params()
    job = synthetic_job(chain_id, epoch_of(Height(reader.head.height), params))
    for unit in range(params.synthetic_units_max):
        if (job, unit) not in taken and reader.get(WORK_RECEIPTS, job, unit, worker) is None:
            yield Choice(job, unit, JobKind.SYNTHETIC)
