"""What a validator's operator is told over a real socket: its attendance, that it is in jail, and how it comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from omnitensor.protocol.bodies import Transfer, ValidatorUnjail
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import NANO, Amount
from tests.rpc.world import Client, TestBackend, serve
from tests.state.chain_fixtures import key, make_genesis

PARAMS = Params(epoch_blocks=3, downtime_epochs=2, jail_share_max_bps=2_500, jail_blocks=4)


@pytest.fixture
async def world(tmp_path: Path, called: set[str]) -> AsyncIterator[tuple[TestBackend, Client]]:
    backend = TestBackend(tmp_path, make_genesis(params=PARAMS))
    server = await serve(backend)
    client = Client(server, called)
    yield backend, client
    await client.close()
    await server.stop()
    backend.close()


async def test_attendance_and_jail_are_shown(world: tuple[TestBackend, Client]) -> None:
    backend, client = world
    table = backend.validator_table
    names = {key(f"v{number}").address: f"v{number}" for number in range(4)}
    away = key(names[table.entries[3].address])  # blocks of these tests name the first three
    there = key(names[table.entries[0].address])

    async def shown(of: Any) -> Any:
        return await client.call("stake.validator", address=format_address(of.address))

    for _ in range(2):
        backend.commit()
    assert (await shown(there))["attendance"] == [{"epoch": 0, "blocks": 1, "named": 1, "share_bps": 10_000}]
    assert (await shown(away))["attendance"] == [{"epoch": 0, "blocks": 1, "named": 0, "share_bps": 0}]
    for _ in range(2):
        backend.commit()
    info = await shown(away)
    assert [(each["epoch"], each["blocks"], each["named"]) for each in info["attendance"]] == [
        (1, 0, 0),
        (0, 2, 0),
    ]
    assert (info["absent_epochs"], info["jailed"], info["jailed_until"]) == (1, False, None)
    backend.commit((key("a0"), Transfer(away.address, Amount(100 * NANO))))
    assert backend.commit().result.events[-2].kind == "validator.jailed"
    info = await shown(away)
    assert (info["jailed"], info["jailed_until"], info["votes"], info["votes_next"]) == (
        True,
        10,
        False,
        False,
    )
    assert [each["epoch"] for each in info["attendance"]] == [1], "it does not vote in epoch 2"
    assert info["stake"] == str(100_000 * NANO - 100_000 * NANO // 10_000)
    (early,) = backend.commit((away, ValidatorUnjail())).result.receipts
    assert (early.code, "from height 10 on" in early.reason) == ("jail_time", True)
    for _ in range(2):
        backend.commit()
    (let_out,) = backend.commit((away, ValidatorUnjail())).result.receipts
    assert let_out.ok
    info = await shown(away)
    assert (info["jailed"], info["jailed_until"], info["votes"], info["votes_next"]) == (
        False,
        None,
        False,
        True,
    )
    for _ in range(2):
        backend.commit()
    assert (await shown(away))["votes"]
