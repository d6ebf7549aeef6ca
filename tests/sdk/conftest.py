"""Fixtures for SDK and command line tests: a small chain that runs for a module, wallets of its people, folders of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from omnitensor.sdk import Wallet
from tests.sdk.epoch_world import EpochWorld, make_world
from tests.sdk.liar import Liar, honest
from tests.sdk.moving_chain import make_moving_chain
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    found = SmallChain(tmp_path_factory.mktemp("node"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EpochWorld]:
    """A chain over several epochs whose validators change, and that is over."""
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.chain.close()


@pytest.fixture(scope="session")
def moving_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """A chain whose validators changed, that serves, and goes on when a test lets it."""
    found = make_moving_chain(tmp_path_factory)
    yield found
    found.stop()


@pytest.fixture(scope="session")
def liars(moving_chain: SmallChain) -> Iterator[Liar]:
    made = Liar(moving_chain.endpoint)
    yield made
    made.stop()


@pytest.fixture
def liar(liars: Liar) -> Liar:
    """A node between the client and the moving chain, honest until a test says otherwise."""
    liars.change = honest
    liars.calls.clear()
    return liars


@pytest.fixture
def wallet() -> Callable[[str], Wallet]:
    """The wallet of a name in the small chain's genesis."""
    return lambda name: Wallet(key(name), key(name).address)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the SDK, and no settings of whoever runs the tests."""
    folder = tmp_path / "home"
    monkeypatch.setenv("OMNITENSOR_HOME", str(folder))
    monkeypatch.delenv("OMNITENSOR_RPC", raising=False)
    monkeypatch.delenv("OMNITENSOR_PASSPHRASE_FILE", raising=False)
    return folder


@pytest.fixture(autouse=True, scope="module")
def _quiet_logs() -> Iterator[None]:
    """The server's log of every request would drown a failure's report. Undone: other modules read logs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()
