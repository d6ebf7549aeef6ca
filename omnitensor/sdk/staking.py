"""Delegated stake: what a node shows of it, typed, and the orders that delegate, take back, move and claim."""

from __future__ import annotations

from omnitensor.protocol.types import Address
from omnitensor.sdk.governance import GovernanceReads
from omnitensor.sdk.reads import address_text
from omnitensor.sdk.results import Cursor, Result


class DelegationInfo(Result, frozen=True):
    """What an account delegates to a validator; amounts in nanoOMNIT at what its shares are worth now."""

    account: str
    validator: str
    amount: int
    shares: int
    joining: int = 0
    """Earns from the next epoch on."""
    under_way: int = 0
    """Came by redelegations that have not landed: it can't be redelegated yet."""
    rewards: int = 0


class DelegationPage(Result, frozen=True):
    delegations: list[DelegationInfo]
    next: Cursor = None


class UndelegationInfo(Result, frozen=True):
    validator: str
    amount: int
    since: int
    due: int
    source: str | None = None


class UndelegationPage(Result, frozen=True):
    undelegations: list[UndelegationInfo]
    next: Cursor = None


class RedelegationInfo(Result, frozen=True):
    source: str
    target: str
    amount: int
    since: int
    due: int


class RedelegationPage(Result, frozen=True):
    redelegations: list[RedelegationInfo]
    next: Cursor = None


class RewardInfo(Result, frozen=True):
    validator: str
    amount: int


class StakeRewards(Result, frozen=True):
    """What an account can claim: ``validator`` of it as a validator, the rest of its delegations."""

    account: str
    total: int
    validator: int
    delegations: list[RewardInfo]


class AprInfo(Result, frozen=True):
    """What stake earns, in basis points a year, without compounding."""

    base_bps: int
    votes_bps: int
    reviews_bps: int
    commission_bps: int
    delegator_min_bps: int
    delegator_max_bps: int
    epoch: int
    epoch_ms: int
    active: int
    reserve: int
    unclaimed: int


class StakingReads(GovernanceReads):
    """The reads of a client about delegated stake."""

    async def delegations(self, account: Address | str) -> list[DelegationInfo]:
        """Everything that an account delegates, by validator."""
        pages = self._pages(DelegationPage, "stake.delegations", account=address_text(account))
        return [each async for page in pages for each in page.delegations]

    async def delegation(self, account: Address | str, validator: Address | str) -> DelegationInfo:
        """What an account delegates to one validator. Raises NotFoundError."""
        return await self._ask(
            DelegationInfo,
            "stake.delegation",
            account=address_text(account),
            validator=address_text(validator),
        )

    async def delegators(self, validator: Address | str) -> list[DelegationInfo]:
        """Everything that is delegated to a validator, by delegator."""
        pages = self._pages(DelegationPage, "stake.delegators", validator=address_text(validator))
        return [each async for page in pages for each in page.delegations]

    async def undelegations(self, account: Address | str) -> list[UndelegationInfo]:
        """Delegated stake on its way back to an account."""
        pages = self._pages(UndelegationPage, "stake.undelegations", account=address_text(account))
        return [each async for page in pages for each in page.undelegations]

    async def redelegations(self, account: Address | str) -> list[RedelegationInfo]:
        """An account's redelegations under way."""
        pages = self._pages(RedelegationPage, "stake.redelegations", account=address_text(account))
        return [each async for page in pages for each in page.redelegations]

    async def stake_rewards(self, account: Address | str) -> StakeRewards:
        """What an account can claim of past epochs' rewards."""
        return await self._ask(StakeRewards, "stake.rewards", account=address_text(account))

    async def apr(self, validator: Address | str | None = None) -> AprInfo:
        """What stake earns a year, at all or behind one validator."""
        named = {} if validator is None else {"validator": address_text(validator)}
        return await self._ask(AprInfo, "stake.apr", **named)
