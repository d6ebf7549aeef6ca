"""Seasons, leaderboards, badges and competitions, after docs/specification/seasons.md. Part of the model."""

from __future__ import annotations

from typing import Any

from tests.model.campaigns import OPEN, U64_MAX
from tests.model.governance import largest_remainder
from tests.model.ground import BPS, Ground, Thing, parts_of, refuse_if

CONTRIBUTOR, VALIDATOR, WORKER, CAMPAIGN = range(4)
FIRST_ITEM, HUNDRED, THOUSAND, TOP, STEADFAST, WINNER = 0, 1, 2, 3, 6, 7
TOP_PLACES = STEADFAST_REPORTS = 10
PROPORTIONAL, RANKS = 0, 1


class Seasons(Ground):
    """Who did well, and what that pays."""

    def open(self) -> None:
        self.seasons = self.table()
        self.standings = self.table()
        """By kind of board, number and account."""
        self.badges = self.table()
        self.careers = self.table()
        self.competitions = self.table()
        self.payouts = self.table()
        """Seasons and campaigns that are to be paid, by height, kind and number."""

    # -- scores

    @property
    def season(self) -> int:
        return int(self.counters.get("season", 0))

    def season_row(self, number: int) -> Thing:
        if number not in self.seasons:
            self.seasons[number] = self.thing(
                first_epoch=0, opened_at=0, closed_at=0, pools=(), places=0, paid=0, participation=0
            )
        row: Thing = self.seasons[number]
        return row

    def standing(self, kind: int, of: int, account: bytes) -> Thing:
        key = (kind, of, account)
        if key not in self.standings:
            self.standings[key] = self.thing(value=0, works=0, missed=0, participation=0)
        row: Thing = self.standings[key]
        return row

    def career(self, account: bytes) -> Thing:
        if account not in self.careers:
            self.careers[account] = self.thing(items=0, prizes=0, participation=0)
        row: Thing = self.careers[account]
        return row

    def score_payment(self, account: bytes, kind: str, amount: int, campaign: int, item: int) -> None:
        """Payments for accepted items and for reports count; for a season an item's no more than its first round may cost."""
        if kind == "review":
            self._count_for(VALIDATOR, self.season, account, amount).works += 1
        if kind == "contribution":
            paid, most = self.items[item].paid, self.first_round(item)
            before = paid - amount
            self._count_for(CONTRIBUTOR, self.season, account, max(0, min(most, paid) - before))
            self._count_for(CAMPAIGN, campaign, account, amount)

    def _count_for(self, kind: int, of: int, account: bytes, amount: int) -> Thing:
        row = self.standing(kind, of, account)
        row.value = min(U64_MAX, row.value + amount)
        return row

    def first_round(self, number: int) -> int:
        """What the reviewers of an item's first round may earn together."""
        item = self.items[number]
        return int(self.campaigns[item.campaign].spec.first_seats * item.fee)

    def count_missed(self, account: bytes) -> None:
        self.standing(VALIDATOR, self.season, account).missed += 1

    def board(self, kind: int, of: int) -> list[tuple[bytes, int]]:
        """Accounts with a value: the highest first, of equal ones the lower address."""
        found = [
            (account, row.value)
            for (k, o, account), row in self.standings.items()
            if (k, o) == (kind, of) and row.value
        ]
        return sorted(found, key=lambda each: (-each[1], each[0]))

    # -- taking part

    def take_part(self, number: int) -> None:
        """An accepted item can't be appealed any more."""
        item, p = self.items[number], self.p
        account, season = item.contributor, self.season_row(self.season)
        standing, career = self.standing(CONTRIBUTOR, self.season, account), self.career(account)
        amount = min(
            p.participation_reward,
            item.reward,
            self.first_round(number),
            p.participation_account_max - standing.participation,
            p.participation_pool - season.participation,
            self.pots["reserve"],
        )
        amount = max(0, amount)
        standing.works += 1
        standing.participation += amount
        season.participation += amount
        career.items += 1
        career.participation = min(U64_MAX, career.participation + amount)
        badge = {1: FIRST_ITEM, 100: HUNDRED, 1000: THOUSAND}.get(career.items)
        if badge is not None:
            self.give_badge(account, badge, 0, 0)
        self.move("reserve", account, amount)
        self.note_payment(account, "participation", amount, item.campaign, item=number)

    def give_badge(self, account: bytes, kind: int, of: int, rank: int) -> None:
        if (account, kind, of) not in self.badges:
            self.badges[account, kind, of] = (self.height, rank)

    # -- seasons

    def turn_season(self) -> None:
        p = self.p
        if self.height % p.epoch_blocks:
            return
        number = self.season
        row = self.season_row(number)
        if self.epoch + 1 - row.first_epoch < p.season_epochs:
            return
        whole = min(p.season_pool, self.pots["reserve"])
        bps = (p.season_contributors_bps, p.season_validators_bps, p.season_workers_bps)
        pools = tuple(
            parts_of(whole, share) if self.board(role, number) else 0 for role, share in enumerate(bps)
        )
        self.move("reserve", "seasons", sum(pools))
        row.closed_at, row.pools, row.places = self.height, pools, p.season_places
        following = self.season_row(number + 1)
        following.first_epoch, following.opened_at = self.epoch + 1, self.height + 1
        self.counters["season"] = number + 1
        self.payouts[self.height, 0, number] = True

    def pay_prizes(self) -> None:
        """What is owed. Boards of these histories are small: all of it fits the work of one block."""
        for key in sorted(self.payouts):
            _, kind, of = key
            if kind == 0:
                self._pay_season(of)
            else:
                self._pay_competitions(of)
            del self.payouts[key]

    def _pay_season(self, number: int) -> None:
        season = self.seasons[number]
        for role, pool in enumerate(season.pools):
            board = self.board(role, number)
            sharing = board[: season.places]
            weights = {account: len(sharing) - place for place, (account, _) in enumerate(sharing)}
            shares = split_by_address(pool, weights)
            for place, (account, _) in enumerate(board[: max(season.places, TOP_PLACES)]):
                if place < TOP_PLACES:
                    self.give_badge(account, TOP + role, number, place + 1)
                season.paid += shares.get(account, 0)
                self._pay_prize("seasons", account, shares.get(account, 0), 0)
        for (kind, of, account), row in list(self.standings.items()):
            if (kind, of) == (VALIDATOR, number) and row.works >= STEADFAST_REPORTS and not row.missed:
                self.give_badge(account, STEADFAST, number, 0)

    def _pay_prize(self, pot: str, account: bytes, amount: int, campaign: int) -> None:
        if amount:
            self.move(pot, account, amount)
            self.career(account).prizes = min(U64_MAX, self.career(account).prizes + amount)
            self.note_payment(account, "prize", amount, campaign)

    # -- competitions

    def competition_open(self, sender: bytes, body: Any) -> None:
        refuse_if(body.campaign not in self.campaigns, "campaign_unknown")
        refuse_if(self.campaigns[body.campaign].status != OPEN, "campaign_closed")
        refuse_if(body.pool < self.p.competition_pool_min, "competition_pool")
        shares = body.shares_bps
        fits = {PROPORTIONAL: not shares, RANKS: sum(shares) == BPS and 0 not in shares}.get(body.rule, False)
        refuse_if(not fits, "competition_rule")
        self.move(sender, "competitions", body.pool)
        self.competitions[self.count("competition", 1)] = self.thing(
            sponsor=sender,
            campaign=body.campaign,
            pool=body.pool,
            rule=body.rule,
            shares_bps=shares,
            opened_at=self.height,
            paid=0,
            returned=0,
            ended_at=0,
        )

    def end_competitions(self, campaign: int) -> None:
        """A campaign has ended: its competitions are due."""
        if any(row.campaign == campaign for row in self.competitions.values()):
            self.payouts[self.height, 1, campaign] = True

    def _pay_competitions(self, campaign: int) -> None:
        for number, row in sorted(self.competitions.items()):
            if row.campaign != campaign:
                continue
            placed = self.board(CAMPAIGN, campaign)
            if row.rule == PROPORTIONAL:
                placed = placed[:500]
                by_account = split_by_address(row.pool, dict(placed))
                shares = [by_account[account] for account, _ in placed]
            else:
                shares = largest_remainder(row.pool, list(row.shares_bps))
            for place, ((account, _), amount) in enumerate(zip(placed, shares, strict=False)):
                if place == 0:
                    self.give_badge(account, WINNER, number, 1)
                row.paid += amount
                self._pay_prize("competitions", account, amount, campaign)
            row.returned = row.pool - row.paid
            row.ended_at = self.height
            self.move("competitions", row.sponsor, row.returned)
            self.note_payment(row.sponsor, "refund", row.returned, campaign)


def split_by_address(total: int, weights: dict[bytes, int]) -> dict[bytes, int]:
    """By largest remainder, of equal ones the lower address."""
    if not weights or not total:
        return dict.fromkeys(weights, 0)
    accounts = sorted(weights)
    shares = largest_remainder(total, [weights[account] for account in accounts])
    return dict(zip(accounts, shares, strict=True))
