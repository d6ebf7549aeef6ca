"""Two processes with the same files: the second must find what the first did, and not submit again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from omnitensor.sdk.bundles import BundleItem
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.contributor import AsyncContributor, Job, Submission
from omnitensor.sdk.errors import ConnectionFailed
from omnitensor.sdk.home import Home
from omnitensor.sdk.orders import Order
from omnitensor.sdk.transport import Retry
from omnitensor.sdk.wallet import Wallet


def make(path: Path, home: Home, mine: Job) -> Submission:
    """Runs a job that was made before another process took the same work up. No node is there."""

    async def run() -> Submission:
        client = AsyncClient("http://127.0.0.1:1", home=home, retry=Retry(attempts=1, timeout_s=1))
        async with client:
            return await AsyncContributor(Wallet.generate(), client=client)._run(path, mine, None)

    return asyncio.run(run())


def test_what_another_process_finished_meanwhile_is_not_submitted_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    path = home.work("submissions", "place", "1-root.json")
    item = BundleItem("/nowhere", "aa" * 32, 5, "bb" * 32, "text/plain", 0, 0)
    mine = Job("cc" * 32, "omnit1", 1, "01" * 32, "02" * 32, [item])
    theirs = msgspec.structs.replace(
        mine,
        salt="03" * 32,
        commitment="04" * 32,
        stage="revealed",
        commit=Order("", "05" * 32),
        reveal=Order("", "06" * 32),
        revealed_at=7,
    )
    home.write(path, theirs)
    assert make(path, home, mine).commitment == theirs.commitment
    home.write(path, msgspec.structs.replace(theirs, stage="lapsed"))
    with pytest.raises(ConnectionFailed):  # that one is over, so this one begins, and needs a node
        make(path, home, mine)
