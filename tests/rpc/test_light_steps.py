"""light.steps over a real socket: it leads a light client from epoch to epoch, in pages, no further back than is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from omnitensor.light import Checkpoint, advance_all, begin
from omnitensor.protocol.bodies import ValidatorEdit
from omnitensor.protocol.limits import rpc_steps_max
from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Hash, Height, View
from omnitensor.protocol.votes import Candidate
from omnitensor.sdk.proofs import step_from
from omnitensor.sdk.results import StepPage, read
from state.ledger import epochs
from state.schema import STEPS
from tests.rpc.world import Client, TestBackend, serve
from tests.sdk.small_chain import finality_proof
from tests.state.chain_fixtures import START_MS, build, key, make_genesis, order

EPOCH_BLOCKS = 2
KEPT = 5
PARAMS = Params(epoch_blocks=EPOCH_BLOCKS, evidence_epochs=KEPT)


@pytest.fixture
async def world(tmp_path: Path, called: set[str]) -> AsyncIterator[tuple[TestBackend, Client]]:
    backend = TestBackend(tmp_path, make_genesis(params=PARAMS))
    server = await serve(backend)
    client = Client(server, called)
    yield backend, client
    await client.close()
    await server.stop()
    backend.close()


def grow(backend: TestBackend, blocks: int, **edits: str) -> None:
    """Final blocks; in the first of them validators are given other names."""
    chain = backend.chain
    for place in range(blocks):
        orders = []
        if place == 0:
            for who, name in edits.items():
                nonce = backend.reader().account(key(who).address).nonce
                orders.append(order(key(who), nonce, ValidatorEdit(None, None, None, name)))
        block = build(chain, orders)
        candidate = Candidate(chain.epoch, View(block.header.height), View(0), Hash(bytes(32)), block.hash)
        chain.commit(block.hash, finality_proof(chain.validator_table(), candidate, chain_id=chain.chain_id))


async def page(client: Client, **params: int) -> StepPage:
    return read(StepPage, await client.call("light.steps", **params), "light.steps")


async def test_steps_lead_from_genesis_to_now(world: tuple[TestBackend, Client]) -> None:
    backend, client = world
    header = backend.reader().head.header
    table = backend.chain.validator_table()
    assert (await page(client, epoch=0)).steps == []
    grow(backend, 4 * EPOCH_BLOCKS + 1)
    point = begin(header, table, Checkpoint(Height(0), header.hash), backend.chain.chain_id)
    asked, epoch, found = 0, 0, 0
    while True:
        answer = await page(client, epoch=epoch, limit=3)
        asked += 1
        found += len(answer.steps)
        assert answer.epoch == 4
        point = advance_all(point, [step_from(each) for each in answer.steps], now_ms=START_MS + 60_000)
        if answer.next is None:
            break
        epoch = answer.next
    assert (asked, found, point.epoch) == (2, 4, 4)
    assert point.table.hash == backend.chain.validator_table().hash
    assert all(each.voters is None for each in (await page(client, epoch=0)).steps), "nobody came or went"


async def test_the_last_step_is_there_as_soon_as_its_boundary_is_final(
    world: tuple[TestBackend, Client],
) -> None:
    backend, client = world
    grow(backend, EPOCH_BLOCKS - 1)
    assert (await page(client, epoch=0)).steps == []
    grow(backend, 1)
    answer = await page(client, epoch=0)
    assert (len(answer.steps), answer.epoch, answer.next) == (1, 1, None)
    for epoch in (1, 2, 10**9, 2**63 - 1):
        answer = await page(client, epoch=epoch)
        assert (answer.steps, answer.next, answer.epoch) == ([], None, 1)


async def test_steps_outlive_the_sets_and_the_blocks(world: tuple[TestBackend, Client]) -> None:
    backend, client = world
    header, table = backend.reader().head.header, backend.chain.validator_table()
    grow(backend, 2 * EPOCH_BLOCKS, v1="other")
    grow(backend, 6 * EPOCH_BLOCKS)
    assert epochs.table_of(backend.reader(), Epoch(0)) is None, "long forgotten"
    while backend.chain.prune(Height(8 * EPOCH_BLOCKS)):
        pass
    point = begin(header, table, Checkpoint(Height(0), header.hash), backend.chain.chain_id)
    answer = await page(client, epoch=0)
    point = advance_all(point, [step_from(each) for each in answer.steps], now_ms=START_MS + 60_000)
    assert (point.epoch, point.height) == (8, 8 * EPOCH_BLOCKS)


async def test_steps_below_a_snapshot_are_said_to_be_missing(world: tuple[TestBackend, Client]) -> None:
    backend, client = world
    grow(backend, 4 * EPOCH_BLOCKS)
    backend.chain._store.write([(STEPS.full_key(epoch), None) for epoch in range(3)])
    backend.chain._reader = backend.chain._new_reader(backend.chain.head)
    error = (await client.ask("light.steps", {"epoch": 2}))["error"]
    assert error["code"] == -32010
    assert error["data"]["code"] == "pruned"
    assert error["data"]["value"] == "2"
    assert "checkpoint of epoch 3 or later" in error["data"]["remedy"]
    assert len((await page(client, epoch=3)).steps) == 1


async def test_what_is_asked_for_is_bounded(world: tuple[TestBackend, Client]) -> None:
    _, client = world
    for params in (
        {"epoch": 0, "limit": 0},
        {"epoch": 0, "limit": rpc_steps_max + 1},
        {"epoch": -1},
        {"epoch": 2**63},
        {"epoch": "0"},
        {},
    ):
        assert (await client.fault("light.steps", params))[0] == -32602
