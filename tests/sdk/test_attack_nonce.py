"""A node that keeps a payment and says that its nonce is taken must not get a second one signed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from omnitensor.protocol.bodies import SessionKeyRemove, Transfer
from omnitensor.protocol.types import Amount, PublicKey
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import NonceUsedError
from omnitensor.sdk.home import Home
from omnitensor.sdk.orders import SIGNED_ANEW_MAX, Order
from omnitensor.sdk.wallet import Wallet


class Deceived(AsyncClient):
    """A client whose node takes every order and says that none can ever be included."""

    signed = 0

    async def bind(self, wallet: Wallet) -> Wallet:
        return wallet

    async def sign(self, wallet: Wallet, body: Any, *, tip: int = 0) -> Order:
        self.signed += 1
        return Order("", f"{self.signed:064x}")

    async def _taken(self, order: Order) -> bool:
        return False


def signed_for(body: Any, home: Path) -> int:
    async def run() -> int:
        async with Deceived("http://127.0.0.1:1", home=Home(home)) as client:
            with pytest.raises(NonceUsedError, match="look at the account's transactions"):
                await client.execute(Wallet.generate(), body)
            return client.signed

    return asyncio.run(run())


def test_a_payment_is_signed_once_whatever_a_node_says(tmp_path: Path) -> None:
    assert signed_for(Transfer(Wallet.generate().address, Amount(5)), tmp_path) == 1


def test_an_order_that_gives_nothing_away_is_signed_anew(tmp_path: Path) -> None:
    assert signed_for(SessionKeyRemove(PublicKey(bytes(32))), tmp_path) == SIGNED_ANEW_MAX
