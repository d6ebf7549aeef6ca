"""What contributors, sponsors and validators have in common: a client, a wallet, and a folder for work under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from omnitensor.sdk.client import AsyncClient, Client
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.home import Home
from omnitensor.sdk.loops import LOOP
from omnitensor.sdk.wallet import Wallet

M = TypeVar("M")


class AsyncActor:
    """Somebody who acts on chain with a wallet. Give a wallet or an API key; the client is made where none is given."""

    def __init__(
        self,
        wallet: Wallet | None = None,
        *,
        api_key: str | None = None,
        endpoint: str | None = None,
        client: AsyncClient | None = None,
        home: Home | str | Path | None = None,
    ) -> None:
        if (wallet is None) == (api_key is None):
            raise InputError(
                "give a wallet or an API key", remedy="Wallet.from_secret(...), or api_key='otk1...'"
            )
        self._given = wallet if wallet is not None else Wallet.from_api_key(api_key or "")
        self._bound: Wallet | None = None
        self._owns_client = client is None
        self.client = client or AsyncClient(endpoint, home=home)
        self.home = self.client.home

    async def wallet(self) -> Wallet:
        """The wallet with its account; an API key's is looked up once."""
        if self._bound is None:
            self._bound = await self.client.bind(self._given)
        return self._bound

    async def close(self) -> None:
        """Close the client, where it is this object's own."""
        if self._owns_client:
            await self.client.close()

    async def _place(self) -> str:
        """The folder name for work of this account on this chain: never taken up on another chain."""
        identity, wallet = await self.client.identity(), await self.wallet()
        return f"{identity.genesis_hash[:16]}-{wallet.text[-16:]}"


def async_of(client: Client | None) -> AsyncClient | None:
    """The async half of a blocking client."""
    return client.asynchronous if client is not None else None


def made_in_loop(make: Callable[[], M]) -> M:
    """An async object made inside the private loop, where it will live."""

    async def made() -> M:
        return make()

    return LOOP.run(made())
