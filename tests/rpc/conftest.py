"""A served node for tests: real sockets, chain, mempool and store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rpc.server import RpcServer
from tests.rpc.world import Client, TestBackend, serve

CALLED: set[str] = set()
"""Every method that some test called, over the whole run of this folder."""


@pytest.fixture(scope="session")
def called() -> set[str]:
    return CALLED


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[TestBackend]:
    made = TestBackend(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def server(backend: TestBackend) -> AsyncIterator[RpcServer]:
    started = await serve(backend)
    yield started
    await started.stop()


@pytest.fixture
async def client(server: RpcServer, called: set[str]) -> AsyncIterator[Client]:
    made = Client(server, called)
    yield made
    await made.close()
