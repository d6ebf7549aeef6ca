"""Ethereum 2023 and 2025: attestations for old targets made nodes replay old states. Here an old vote costs one comparison."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.stake.verify import Verifier
from node import evidence as node_evidence
from node.verification import BatchVerifier
from omnitensor.protocol import bls
from omnitensor.protocol.types import Epoch, Hash
from omnitensor.protocol.votes import VoteKind
from state.chain import Chain
from state.reader import Reader
from tests.consensus.bench_core import Bench
from tests.consensus.worlds import Workshop
from tests.lessons.scene import Scene
from tests.node.node_kit import is_peer, stranger, until

N, S, F = VoteKind.NOTARIZE, VoteKind.SKIP, VoteKind.FINALIZE


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts everything dear that a node can do: cryptography, execution, reading the database."""
    done: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(*given: Any, **named: Any) -> Any:
            done[name] += 1
            return real(*given, **named)

        monkeypatch.setattr(owner, name, counted)

    count(bls, "verify")
    count(bls, "verify_many")
    count(node_evidence, "convicted")
    count(BatchVerifier, "verify")
    for name in ("verify_certificate", "verify_finality", "verify_vote"):
        count(Verifier, name)
    for name in ("check", "build", "validator_table"):
        count(Chain, name)
    for name in ("get", "scan", "block", "encoded_block", "proof"):
        count(Reader, name)
    return done


async def forget(work: Counter[str]) -> None:
    """Counts anew, once the node is done with the block before: it tells its peers and its keeper of snapshots a little later."""
    quiet = 0
    while quiet < 5:
        work.clear()
        await asyncio.sleep(0.1)
        quiet = 0 if work else quiet + 1


async def test_ethereum_2023_an_old_vote_costs_nothing_but_a_look(scene: Scene, work: Counter[str]) -> None:
    """Votes for a view that is final, genuine ones and ones for a target that never was: no cryptography, no state, no blame."""
    voters, genesis = scene.voters, scene.folders.genesis
    async with stranger(genesis, scene.node) as peer:
        candidate, _ = await scene.make_final(peer)
        genuine = [voters.vote(signer, kind, 1, candidate.id) for signer in scene.others for kind in (N, F)]
        # None of these was ever heard, and nobody needs a true signature to send an old target.
        strange = [
            replace(vote, candidate_id=Hash(bytes([number]) * 32))
            for vote in genuine
            for number in range(1, 41)
        ]
        await forget(work)
        await scene.tell(peer, *genuine, *strange)
        for dear in ("verify", "verify_many", "convicted", "verify_vote", "check", "build", "block", "scan"):
            assert work[dear] == 0, work
        assert not scene.is_charged(peer)
        assert is_peer(scene.node, peer)
        assert scene.halted is None


async def test_ethereum_2023_a_forged_conflict_costs_its_sender_more_than_the_node(
    scene: Scene, work: Counter[str]
) -> None:
    """An old vote that contradicts what its signer truly said must be looked at; who forges such is gone after a few."""
    voters, genesis = scene.voters, scene.folders.genesis
    victim = next(index for index in scene.others if index != voters.leader(1))
    async with stranger(genesis, scene.node) as honest:
        candidate = voters.candidate(1, voters.block(1))
        await scene.tell(honest, voters.vote(victim, N, 1, candidate.id))
        await scene.make_final(honest)
        true = voters.vote(victim, N, 1, candidate.id)
        await forget(work)
        async with stranger(genesis, scene.node) as liar:
            for number in range(1, 200):
                liar.host.send(scene.id, replace(true, candidate_id=Hash(bytes([number]) * 32)))
            await until("the liar is gone", lambda: not is_peer(scene.node, liar))
        assert 0 < work["convicted"] <= 64, work
        assert work["check"] + work["build"] == 0
        assert is_peer(scene.node, honest)


def test_ethereum_2025_what_an_old_vote_costs_does_not_depend_on_how_old_it_is() -> None:
    """The core's own answer, for views from the last final one down to the first, after hundreds of them."""
    shop = Workshop()
    bench = Bench(0, shop)
    bench.start()
    for view in range(1, 301):
        bench.certificate(shop.certificate(S, view, signers=(1, 2, 3)))
    candidate, block = shop.child(301)
    bench.propose(candidate, block, (shop.certificate(S, 300),))
    bench.checked(candidate)
    bench.certificate(shop.certificate(F, 301, candidate.id))
    assert bench.core.final.view == 301
    before = len(bench.core._slots)
    steps: dict[int, int] = {}
    for view in (1, 2, 50, 150, 299, 301):
        vote = shop.vote(S, view, signer=1)
        steps[view] = lines_run(lambda v=vote: bench.core.wants_vote(v))
        assert not bench.core.wants_vote(vote)
    assert max(steps.values()) <= min(steps.values()) + 2, steps
    assert max(steps.values()) < 60, steps
    assert len(bench.core._slots) == before
    far = [shop.vote(S, view, signer=1) for view in (10**6, 2**63 - 1)]
    assert not any(bench.core.wants_vote(vote) for vote in far)
    other_epoch = replace(shop.vote(S, 301, signer=1), epoch=Epoch(7))
    assert not bench.core.wants_vote(other_epoch)


def lines_run(call: Any) -> int:
    """Lines of Python that a call runs, in itself and below."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
