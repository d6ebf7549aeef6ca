"""Holds the ledger's rows against the model's, row by row: what each row must be, made from the model alone.

Knows both sides; a table that is not here is not modelled, and `NOT_MODELLED` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from state.records import (
    Account,
    PotTotal,
)
from state.records_review import (
    Earnings,
)
from state.schema import (
    ACCOUNTS,
    ADMITTED,
    APPEALS,
    ATTENDANCE,
    BADGES,
    BATCHES,
    CAMPAIGNS,
    CAREERS,
    COMPETITIONS,
    COMPETITIONS_BY_CAMPAIGN,
    CONSENSUS_KEYS,
    CONTENT_DIGESTS,
    CONTENT_ROOTS,
    CONTRIBUTORS,
    CONVICTIONS,
    COUNTERS,
    DELEGATIONS,
    DEPOSITS,
    DOWNTIME,
    DUE,
    EARNINGS,
    EPOCH_REVIEWS,
    GOLD_SETS,
    GOLD_USED,
    GRANTS,
    ITEMS,
    LEADERBOARDS,
    MATURITIES,
    MULTISIGS,
    OPEN_PROPOSALS,
    OPEN_SEATS,
    OVERRIDES,
    PARAMETER_ORIGINS,
    PARAMS,
    PAYOUTS,
    POTS,
    PRIVATE_ITEMS,
    PROPOSALS,
    PROPOSALS_DUE,
    QUEUE,
    READING_KEYS,
    REDELEGATIONS,
    REMOVALS,
    REVIEWERS,
    REWARD_INDEXES,
    SEALED_SEATS,
    SEASONS,
    SEATS,
    SESSION_KEYS,
    SESSION_KEYS_BY_OWNER,
    STAKE_POOLS,
    STANDINGS,
    SUBMISSIONS,
    SUBMISSIONS_OPEN,
    TABLES,
    UNBONDING,
    UNBONDING_BY_VALIDATOR,
    UNDELEGATIONS,
    UPGRADES,
    VALIDATOR_SETS,
    VALIDATORS,
    VAULTS,
    VOTES,
    WORKER_CONVICTIONS,
    Kind,
    Table,
    number,
)
from tests.model import expected_work
from tests.model.chain import Model
from tests.model.expected import (
    FIRST_SEASON,
    NO_CAREER,
    NO_STANDING,
    UNIT,
    ZERO,
    account,
    appeal,
    attendance,
    badge,
    batch,
    campaign,
    career,
    competition,
    competition_of,
    contributor,
    conviction,
    counter,
    delegation,
    deposit,
    downtime,
    due_of,
    earnings,
    eight,
    gold_set,
    grant,
    holder,
    item,
    listed,
    maturity,
    multisig,
    open_proposal,
    open_seat,
    origin,
    params,
    payout,
    place,
    pool,
    pot,
    proposal,
    proposal_due,
    queued,
    reading_key,
    redelegation,
    reviewer,
    reviews,
    reward_index,
    said,
    sealed_seat,
    season,
    seat,
    session,
    standing,
    submission,
    submissions_open,
    unbonding,
    unbonding_by_validator,
    undelegation,
    underway,
    upgrade,
    validator,
    validator_set,
    vault,
    vote,
)

NOT_MODELLED = {
    DUE.name: "how the ledger finds what is due; that it is done at its height is compared",
    OVERRIDES.name: "how votes follow shares that move; what is counted in the end is compared",
}
"""Tables of the state whose rows the model does not tell."""


EXPECTED: dict[Table[Any], tuple[Callable[[Model, bytes], Any], Callable[[Model], Iterable[bytes]]]] = {
    PARAMS: (params, lambda m: [b"", b"next"]),
    PROPOSALS: (proposal, lambda m: [eight(n) for n in m.proposals]),
    DEPOSITS: (deposit, lambda m: [eight(n) + who for n, who in m.deposits]),
    VOTES: (vote, lambda m: [eight(n) + who for n, who in m.votes]),
    OPEN_PROPOSALS: (open_proposal, lambda m: [eight(row.status) + eight(n) for n, row in underway(m)]),
    PROPOSALS_DUE: (
        proposal_due,
        lambda m: [eight(due_of(row)) + eight(row.status) + eight(n) for n, row in underway(m)],
    ),
    UPGRADES: (upgrade, lambda m: [eight(height) for height in m.upgrades]),
    PARAMETER_ORIGINS: (origin, lambda m: [name.encode() for name in m.origins]),
    ADMITTED: (lambda m, key: UNIT if key in m.admitted else None, lambda m: m.admitted),
    DELEGATIONS: (delegation, lambda m: [who + to for who, to in m.delegations]),
    UNDELEGATIONS: (undelegation, lambda m: [who + to + eight(n) for who, to, n in m.undelegations]),
    REDELEGATIONS: (redelegation, lambda m: [who + to + eight(n) for who, to, n in m.redelegations]),
    MATURITIES: (
        maturity,
        lambda m: [
            eight(row.due) + who + to + eight(n)
            for rows in (m.undelegations, m.redelegations)
            for (who, to, n), row in rows.items()
        ],
    ),
    STAKE_POOLS: (pool, lambda m: [who for who, row in m.pools.items() if said(row)]),
    REWARD_INDEXES: (reward_index, lambda m: [to + eight(epoch) for to, epoch in m.joined]),
    EPOCH_REVIEWS: (reviews, lambda m: m.reviewed),
    ATTENDANCE: (attendance, lambda m: [eight(epoch) for epoch in m.attendance]),
    DOWNTIME: (downtime, lambda m: m.downtime),
    SEASONS: (season, lambda m: [eight(n) for n in m.seasons]),
    STANDINGS: (standing, lambda m: [eight(k) + eight(n) + who for k, n, who in m.standings]),
    LEADERBOARDS: (
        place,
        lambda m: [
            eight(k) + eight(n) + eight(2**64 - 1 - row.value) + who
            for (k, n, who), row in m.standings.items()
            if row.value
        ],
    ),
    BADGES: (badge, lambda m: [who + eight(kind) + eight(of) for who, kind, of in m.badges]),
    CAREERS: (career, lambda m: m.careers),
    COMPETITIONS: (competition, lambda m: [eight(n) for n in m.competitions]),
    COMPETITIONS_BY_CAMPAIGN: (
        competition_of,
        lambda m: [eight(row.campaign) + eight(n) for n, row in m.competitions.items()],
    ),
    PAYOUTS: (payout, lambda m: [eight(at) + eight(kind) + eight(of) for at, kind, of in m.payouts]),
    VAULTS: (vault, lambda m: m.vaults),
    ACCOUNTS: (account, lambda m: m.balances),
    POTS: (pot, lambda m: [name.encode() for name in m.pots]),
    COUNTERS: (counter, lambda m: [name.encode() for name in m.counters]),
    SESSION_KEYS: (session, lambda m: m.sessions),
    SESSION_KEYS_BY_OWNER: (listed, lambda m: [owner + key for owner in m.listed for key in m.listed[owner]]),
    MULTISIGS: (multisig, lambda m: m.multisigs),
    VALIDATORS: (validator, lambda m: m.validators),
    CONSENSUS_KEYS: (lambda m, key: UNIT if key in m.keys_seen else None, lambda m: m.keys_seen),
    UNBONDING: (unbonding, lambda m: [eight(due) + who + eight(n) for due, who, n in m.unbonding]),
    UNBONDING_BY_VALIDATOR: (
        unbonding_by_validator,
        lambda m: [who + eight(due) + eight(n) for due, who, n in m.unbonding],
    ),
    VALIDATOR_SETS: (validator_set, lambda m: [eight(epoch) for epoch in m.sets]),
    CONVICTIONS: (conviction, lambda m: m.convictions),
    REMOVALS: (lambda m, key: UNIT if key in m.removals else None, lambda m: m.removals),
    OPEN_SEATS: (
        open_seat,
        lambda m: [who + eight(n) + eight(r) for (n, r, who), s in m.seats.items() if s.bond],
    ),
    CAMPAIGNS: (campaign, lambda m: [eight(n) for n in m.campaigns]),
    SUBMISSIONS: (submission, lambda m: [eight(n) + made + who for n, made, who in m.submissions]),
    SUBMISSIONS_OPEN: (submissions_open, lambda m: {each[2] for each in m.unrevealed.values()}),
    CONTRIBUTORS: (contributor, lambda m: [eight(n) + who for n, who in m.admitted_by]),
    ITEMS: (item, lambda m: [eight(n) for n in m.items]),
    CONTENT_ROOTS: (holder("root"), lambda m: [eight(n) + key for n, by, key in m.holders if by == "root"]),
    CONTENT_DIGESTS: (
        holder("sha256"),
        lambda m: [eight(n) + key for n, by, key in m.holders if by != "root"],
    ),
    QUEUE: (queued, lambda m: [eight(n) + eight(i) for n, row in m.campaigns.items() for i in row.queue]),
    BATCHES: (batch, lambda m: [eight(n) for n in m.batches]),
    APPEALS: (appeal, lambda m: [eight(n) for n in m.appeals]),
    GOLD_SETS: (gold_set, lambda m: [eight(n) for n in m.gold_sets]),
    GOLD_USED: (
        lambda m, key: UNIT if (number(key[:8]), number(key[8:])) in m.gold_used else None,
        lambda m: [eight(n) + eight(index) for n, index in m.gold_used],
    ),
    READING_KEYS: (reading_key, lambda m: m.reading_keys),
    PRIVATE_ITEMS: (
        lambda m, key: m.private_items.get(number(key)),
        lambda m: [eight(n) for n in m.private_items],
    ),
    SEALED_SEATS: (sealed_seat, lambda m: [eight(n) + who for n, who in m.sealed_seats]),
    GRANTS: (grant, lambda m: [eight(n) + eight(i) + who for n, i, who in m.grants]),
    SEATS: (seat, lambda m: [eight(n) + eight(r) + who for n, r, who in m.seats]),
    REVIEWERS: (reviewer, lambda m: m.reviewers),
    EARNINGS: (earnings, lambda m: m.earnings),
    **expected_work.EXPECTED,
}
EMPTY: dict[int, Any] = {
    ACCOUNTS.prefix: Account(0, 0),  # type: ignore[arg-type] # literal numbers
    POTS.prefix: PotTotal(0),  # type: ignore[arg-type] # a literal number
    EARNINGS.prefix: Earnings(0, 0, 0, 0, 0, 0, 0, 0, ()),
    SEASONS.prefix: FIRST_SEASON,
    STANDINGS.prefix: NO_STANDING,
    CAREERS.prefix: NO_CAREER,
}
"""Rows that say the same as their absence."""


def check_row(model: Model, table: Table[Any], key: bytes, found: Any) -> None:
    """One row of the ledger is what the model says."""
    expected = EXPECTED[table][0](model, key)
    if table in (CONVICTIONS, WORKER_CONVICTIONS) and found is not None:
        found = replace(found, evidence=ZERO)  # an id of the protocol's, not of the ledger's
    if table is PROPOSALS and found is not None and found.reason:
        found = replace(found, reason="given")
    if found is None:
        found = EMPTY.get(table.prefix)
    if expected is None:
        expected = EMPTY.get(table.prefix)
    assert found == expected, difference(table, key, found, expected)


def difference(table: Table[Any], key: bytes, found: Any, expected: Any) -> str:
    head = f"{table.name} {key.hex()}: "
    if found is None or expected is None or not hasattr(found, "__struct_fields__"):
        return f"{head}the ledger has {found}, the model {expected}"
    wrong = [
        f"{name} is {getattr(found, name)!r}, in the model {getattr(expected, name)!r}"
        for name in found.__struct_fields__
        if getattr(found, name) != getattr(expected, name)
    ]
    return head + "; ".join(wrong)


def check_changes(model: Model, changes: dict[int, dict[bytes, Any]]) -> None:
    """Everything that a block changed is what the model says."""
    for prefix, rows in changes.items():
        table = TABLES[prefix]
        if table in EXPECTED:
            for key, found in rows.items():
                check_row(model, table, key, found)


def check_everything(model: Model, tables: dict[int, dict[bytes, Any]]) -> None:
    """Every row of the ledger is the model's, and every row of the model is there."""
    for table, (_, keys) in EXPECTED.items():
        held = tables[table.prefix]
        for key, found in held.items():
            check_row(model, table, key, found)
        for key in keys(model):
            if key not in held:
                check_row(model, table, key, None)


def unmodelled() -> list[str]:
    """Tables of the state of which nothing is said."""
    return [
        table.name
        for table in TABLES.values()
        if table.kind is Kind.STATE and table not in EXPECTED and table.name not in NOT_MODELLED
    ]
