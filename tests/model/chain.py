"""The model of the whole ledger: its areas joined, and what a block does from its first transaction to its end.

Shares no code with the ledger.
"""

from __future__ import annotations

from tests.model.accounts import Accounts
from tests.model.campaigns import Campaigns
from tests.model.delegating import Delegating
from tests.model.downtime import Downtime
from tests.model.evidence import Evidence
from tests.model.gold import Gold
from tests.model.governance import Governance
from tests.model.money import Money
from tests.model.privacy import Privacy
from tests.model.reviewer_pay import ReviewerPay
from tests.model.seasons import Seasons
from tests.model.seats import Seats
from tests.model.sessions import Sessions
from tests.model.staking import Staking
from tests.model.submissions import Submissions
from tests.model.verdicts import Verdicts
from tests.model.work_verdicts import WorkVerdicts


class Model(
    Money,
    Sessions,
    Accounts,
    Staking,
    Delegating,
    Downtime,
    Evidence,
    Campaigns,
    Submissions,
    Privacy,
    Seats,
    Gold,
    ReviewerPay,
    Verdicts,
    Seasons,
    Governance,
    WorkVerdicts,
):
    """The world after some transactions. `judge` says what becomes of the next one."""

    def begin_block(self, height: int, time_ms: int, beacon: bytes, proposer: bytes) -> None:
        self.height, self.time_ms, self.beacon, self.proposer = height, time_ms, beacon, proposer
        self.take_parameters()

    def end_block(self, attended: tuple[int, ...]) -> None:
        """Everything that happens by itself, and the next block's base fee."""
        self.end_of_transactions()
        self.count_attendance(attended)
        self.pay_unbonded()
        self.mature()
        self.carry_out_removals()
        self.expire_submissions()
        self.reach_deadlines()
        self.form_batches()
        self.look_at_batches()
        self.settle_batches()
        self.expire_gold()
        self.run_work()
        self.pay_rewards()
        self.turn_work()
        self.judge_downtime()
        self.run_proposals()
        self.pay_prizes()
        self.turn_season()
        self.turn_parameters()
        self.turn_epoch()
        self.base_fee = self.next_base_fee()
        self.weight = self.fees = self.tips = 0
        self.log.entries.clear()
