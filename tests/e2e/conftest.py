"""Fixtures of the end-to-end tests: one net for all of them, since a net takes seconds to start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.devnet import cast
from deploy.devnet.net import Net, Plan
from omnitensor.protocol.types import NANO
from tests.e2e.town import Town, Witness, log_of

PLAN = Plan(
    chain_id="omnitensor-e2e",
    balances={
        "sponsor": 20_000 * NANO,
        "contributor": 200 * NANO,
        "second": 50 * NANO,
        "pauper": 1,
    },
    # No season ends meanwhile, however slow the machine: its prizes would be in the balances that the tests add up.
    # A window ends as soon as everybody has done their part, so a long one costs nothing but waiting for who is away.
    params={
        "seat_accept_blocks": 60,
        "report_commit_blocks": 300,
        "report_reveal_blocks": 300,
        "season_epochs": 10_000,
    },
)
REVIEWED_BY_SNIPPET = 3
"""The validator at this place has no reviewer process: a test reviews for it with the documentation's snippet."""


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Four validators that agree on blocks, three reviewers, and the witness."""
    folder = tmp_path_factory.mktemp("town")
    with Net.create(folder / "net", PLAN) as net:
        town = Town(net, Witness(net.nodes), folder)
        try:
            net.start()
            net.wait_ready()
            town.witness.start()
            with ThreadPoolExecutor(4) as threads:
                made = threads.map(lambda node: cast.make_api_key(net, node), net.nodes)
                town.api_keys |= {node.name: key for node, key in zip(net.nodes, made, strict=True)}
            for seed, node in enumerate(net.nodes):
                if seed != REVIEWED_BY_SNIPPET:
                    town.reviewers[node.name] = cast.start_reviewer(net, node, town.api_keys[node.name], seed)
            yield town
        finally:
            town.witness.stop()
            print(log_of(town), file=sys.stderr)
            for reviewer in town.reviewers.values():
                reviewer.kill()
