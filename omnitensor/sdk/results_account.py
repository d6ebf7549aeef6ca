"""What a node answers about accounts of several keys and locked money, as typed values; see ``results``. Data only."""

from __future__ import annotations

from omnitensor.sdk.results import Cursor, Result


class MultisigInfo(Result, frozen=True):
    """`threshold` and `members` are None before the account's first order: its address hides them."""

    address: str
    sequence: int
    threshold: int | None = None
    members: list[str] | None = None


class VaultInfo(Result, frozen=True):
    """Locked money at the chain's time `now_ms`. `withdrawable` is what the holder can take out at once."""

    vault: str
    holder: str
    granter: str | None
    total: int
    start_ms: int
    cliff_ms: int
    end_ms: int
    vested: int
    withdrawn: int
    balance: int
    withdrawable: int
    now_ms: int

    @property
    def locked(self) -> int:
        """What has not vested."""
        return self.total - self.vested


class VaultPage(Result, frozen=True):
    vaults: list[VaultInfo]
    next: Cursor = None
