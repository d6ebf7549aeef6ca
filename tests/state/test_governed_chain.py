"""Chains on disk whose parameters change by votes: built here, checked there, opened again in between; and upgrades."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from omnitensor.protocol.blocks import Block
from omnitensor.protocol.bodies import (
    BodyBase,
    Content,
    ParameterChange,
    ParameterChanges,
    ProposalSubmit,
    ProposalVote,
    SoftwareUpgrade,
    Transfer,
    VoteOption,
)
from omnitensor.protocol.parameter import Takes
from omnitensor.protocol.parameter_rules import ParameterError
from omnitensor.protocol.params import SPECS, Params
from omnitensor.protocol.types import NANO, Amount, Height, ParameterNumber, ProposalId
from state.chain import Chain
from state.genesis import Genesis
from state.ledger import parameters, upgrades
from state.ledger.ballots import proposal_of
from state.ledger.upgrades import UpgradeError
from state.mempool import Mempool
from state.records_governance import ProposalStatus
from state.schema import PROPOSALS
from tests.state.chain_fixtures import build, key, make_genesis, order

PARAMS = Params(
    epoch_blocks=6,
    evidence_epochs=2,
    unbonding_blocks=60,
    proposal_deposit_min=Amount(NANO),
    proposal_voting_blocks=3,
    proposal_timelock_blocks=2,
)
VOTERS = ("v0", "v1", "v2", "v3")
KEPT = (
    "proposal_deposit_blocks",
    "proposal_voting_blocks",
    "proposal_timelock_blocks",
    "proposal_deposit_min",
)
"""What this test needs as it is, to go on in time and with the money there is."""


class Net:
    """A chain that builds, and another that checks every block that it made and is opened again now and then."""

    def __init__(self, folder: Path) -> None:
        genesis = make_genesis(params=PARAMS, balance=1_000_000 * NANO)
        self.genesis: Genesis = replace_accounts(genesis)
        self.folder = folder
        self.maker = Chain.create(folder / "maker", self.genesis)
        self.other = Chain.create(folder / "other", self.genesis)
        self.mempool = Mempool(self.maker.reader(), self.maker.chain_id, self.maker.signatures)

    def close(self) -> None:
        self.maker.close()
        self.other.close()

    def open_again(self) -> None:
        self.other.close()
        self.other = Chain.open(self.folder / "other", self.genesis)

    def block(self, *orders: tuple[str, BodyBase]) -> Block:
        nonces: dict[str, int] = {}
        for name, body in orders:
            nonce = nonces.get(name, self.maker.reader().account(key(name).address).nonce)
            nonces[name] = nonce + 1
            made = order(
                key(name), nonce, body, max_fee=1_000 * NANO, valid_until=self.maker.head.height + 10
            )
            self.mempool.add(made.encoded)
        waiting = self.mempool.select(
            self.maker.reader().next_base_fee, self.maker.params.block_weight_max, 700_000
        )
        block = build(self.maker, waiting)
        self.maker.commit(block.hash, None)
        self.mempool.on_commit(block, self.maker.reader())
        self.other.check(block)
        self.other.commit(block.hash, None)
        assert self.other.params == self.maker.params
        assert self.other.reader().next_base_fee == self.maker.reader().next_base_fee
        return block

    def enact(self, content: Content) -> ProposalStatus:
        self.block(("a0", ProposalSubmit("Title", "", content, Amount(NANO))))
        number = sum(1 for _ in self.maker.reader().scan(PROPOSALS))
        self.block(*((name, ProposalVote(ProposalId(number), VoteOption.YES)) for name in VOTERS))
        for _ in range(6):
            self.block(("a1", Transfer(key("a2").address, Amount(1))))
        return ProposalStatus(proposal_of(self.maker.reader(), number).status)


def replace_accounts(genesis: Genesis) -> Genesis:
    """The same, with money for the validators' accounts, too."""
    row = genesis.accounts[0]
    return Genesis(
        genesis.chain_id,
        genesis.time_ms,
        genesis.params,
        (*genesis.accounts, *(replace(row, address=key(name).address) for name in VOTERS)),
        genesis.validators,
    ).checked()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    made = Net(tmp_path)
    yield made
    made.close()


def drawn(rng: Random, now: Params, later: Params) -> ParameterChanges:
    """Changes to the very ends of bounds, as many of them as fit together."""
    kept: dict[str, int | tuple[int, int]] = {}
    names = [n for n, s in SPECS.items() if s.takes is not Takes.GENESIS and n not in KEPT]
    for name in rng.sample(names, 16):
        value = rng.choice((SPECS[name].low, SPECS[name].high))
        wanted = kept | {name: (value - 1, value) if isinstance(getattr(now, name), tuple) else value}
        try:
            parameters.changed(now, later, wanted)
        except ParameterError:
            continue
        kept = wanted
    return ParameterChanges(
        tuple(
            ParameterChange(name, ParameterNumber(value[0]), value[1])
            if isinstance(value, tuple)
            else ParameterChange(name, ParameterNumber(value))
            for name, value in kept.items()
        )
    )


def test_blocks_are_made_and_checked_alike_through_changes_to_the_ends_of_bounds(net: Net) -> None:
    rng = Random(5)
    seen: set[str] = set()
    for _ in range(7):
        now = net.maker.params
        content = drawn(rng, now, parameters.next_epoch(net.maker.reader(), now))
        assert net.enact(content) is ProposalStatus.EXECUTED
        net.open_again()
        seen |= {change.name for change in content.changes}
    assert len(seen) > 20
    assert net.maker.params != PARAMS


def test_the_mempool_follows_the_parameters(net: Net) -> None:
    changes = ParameterChanges(
        (
            ParameterChange("block_weight_max", ParameterNumber(100_000)),
            ParameterChange("block_weight_target", ParameterNumber(50_000)),
            ParameterChange("valid_until_blocks_max", ParameterNumber(10)),
        )
    )
    assert net.enact(changes) is ProposalStatus.EXECUTED
    late = order(
        key("a1"), 99, Transfer(key("a2").address, Amount(1)), valid_until=net.maker.head.height + 12
    )
    with pytest.raises(Exception, match="valid for too long"):
        net.mempool.add(late.encoded)


def test_no_block_from_an_upgrade_on_by_software_that_does_not_know_it(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrades, "KNOWN", frozenset({"two"}))
    at = net.maker.head.height + 12
    assert net.enact(SoftwareUpgrade("two", "2.0", Height(at))) is ProposalStatus.EXECUTED
    while net.maker.head.height < at - 1:
        net.block()
    block = build(net.maker)
    monkeypatch.setattr(upgrades, "KNOWN", frozenset())
    for refused in (lambda: build(net.other), lambda: net.other.check(block)):
        with pytest.raises(UpgradeError, match=f"goes on at height {at}") as error:
            refused()
        assert "install OmniTensor 2.0" in error.value.remedy
    assert net.other.head.height == at - 1
    assert not upgrades.is_active(net.other.reader(), "two", Height(at - 1))
    monkeypatch.setattr(upgrades, "KNOWN", frozenset({"two"}))
    net.other.check(block)
    net.other.commit(block.hash, None)
    assert upgrades.is_active(net.other.reader(), "two", Height(at))
    # Long after, too: whoever syncs with old software gets no further than that.
    monkeypatch.setattr(upgrades, "KNOWN", frozenset())
    with pytest.raises(UpgradeError):
        build(net.other)
