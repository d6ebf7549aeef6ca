"""Fixtures for SDK and command line tests: a small chain that runs for a module, wallets of its people, folders of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from omnitensor.sdk import Wallet
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    found = SmallChain(tmp_path_factory.mktemp("node"))
    yield found
    found.stop()


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
