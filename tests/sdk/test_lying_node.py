"""A node that lies whenever it can, between the SDK and an honest one: nothing untrue is believed, or remembered."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnitensor.light import begin
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import Epoch, Height
from omnitensor.sdk import (
    Client,
    Home,
    ProofError,
    ResponseError,
    Retry,
)
from omnitensor.sdk.trust import PointFile
from tests.sdk.liar import Liar, honest
from tests.sdk.moving_chain import (
    EPOCH_BLOCKS,
    block_hash,
    checkpoint,
    identity,
    stored,
)
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("follow-epochs")


@pytest.fixture(scope="module")
def chain(moving_chain: SmallChain) -> SmallChain:
    return moving_chain


def changed_epochs(chain: SmallChain) -> list[int]:
    """Epochs with one below and one above that are over, at whose end the voters change."""
    tables = [chain.chain.validator_table(Epoch(epoch)).entries for epoch in range(chain.chain.epoch + 1)]
    return [epoch for epoch in range(2, chain.chain.epoch - 1) if tables[epoch] != tables[epoch + 1]]


def header_at(chain: SmallChain, height: int) -> Header:
    block = chain.reader().block(Height(height))
    assert block is not None
    return block.header


def digits(text: str) -> str:
    """Another text of the same form."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def lies(step: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A step with one thing in it changed, by name."""

    def at(*path: str | int) -> tuple[str, dict[str, Any]]:
        changed = copy.deepcopy(step)
        inner: Any = changed
        for part in path[:-1]:
            inner = inner[part]
        value = inner[path[-1]]
        inner[path[-1]] = (
            digits(value) if isinstance(value, str) and value else value + 1 if value != "" else "00"
        )
        return ".".join(map(str, path)), changed

    for name, value in step["header"].items():
        if isinstance(value, dict):
            for part in value:
                yield at("header", name, part)
        elif name != "hash":  # what a node calls the header is not looked at
            yield at("header", name)
    for part in ("candidate", "certificate"):
        for name in step["proof"][part]:
            yield at("proof", part, name)
    for place in range(len(step["voters"] or ())):
        for name in ("address", "consensus_key", "weight"):
            yield at("voters", place, name)
    for voters in (None, [], (step["voters"] or [])[1:]):
        yield f"voters {voters and len(voters)}", step | {"voters": voters}
    certificate = step["proof"]["certificate"]
    for kind in ("notarize", "skip"):
        proof = step["proof"] | {"certificate": certificate | {"kind": kind}}
        yield kind, step | {"proof": proof}
    longer = step["proof"] | {"certificate": certificate | {"signers": certificate["signers"] + "00"}}
    yield "longer bitmap", step | {"proof": longer}
    yield "no proof", step | {"proof": {}}
    yield "no header", step | {"header": {}}


def test_no_lie_about_a_step_is_believed_or_remembered(chain: SmallChain, liar: Liar, home: Path) -> None:
    """The client stands at a boundary; each lie is in the second step of the page that follows, which changes the voters."""
    epoch = changed_epochs(chain)[0] - 1
    start = epoch * EPOCH_BLOCKS
    with Client(liar.endpoint, checkpoint=checkpoint(chain, start), home=home) as client:
        liar.lie("light.steps", lambda answer: answer | {"steps": [], "next": None})
        with pytest.raises(ProofError, match="does not show who votes"):
            client.proven_account(key("v0").address)  # genesis is to be proven, from the last block
        assert not (home / "light").exists()
        liar.change = honest
        steps = client.call("light.steps", epoch=epoch)["steps"]
        assert len(steps) >= 3
        assert steps[1]["voters"] is not None
    # Remembered at that boundary, as a client that was here then would have it.
    header = header_at(chain, start)
    table = chain.chain.validator_table(Epoch(epoch))
    PointFile(Home(home), chain.genesis_hash.hex()).save(
        begin(header, table, checkpoint(chain, start), CHAIN_ID)
    )
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        point = client.trusted_point()
        assert point.height == start
        before = stored(home, chain).read_bytes()
        others = {
            "too many": steps * 50,
            "skipped": [*steps[:1], *steps[2:]],
            "repeated": [steps[0], *steps],
            "reversed": steps[::-1],
            "not from here": steps[1:],
            "voters of the next": [steps[0], steps[1] | {"voters": steps[2]["voters"]}, *steps[2:]],
            "proof of the next": [steps[0], steps[1] | {"proof": steps[2]["proof"]}, *steps[2:]],
            "header of the next": [steps[0], steps[1] | {"header": steps[2]["header"]}, *steps[2:]],
        }
        changed = dict(lies(steps[1]))
        assert len(changed) > 35
        for name, wrong in changed.items():
            others[name] = [steps[0], wrong, *steps[2:]]
        for name, wrong_steps in others.items():
            liar.lie("light.steps", lambda answer, wrong=wrong_steps: answer | {"steps": wrong})  # type: ignore[misc] # a lambda's default
            with pytest.raises((ProofError, ResponseError)):
                client.proven_account(key("v0").address)
                pytest.fail(f"believed: {name}")
            assert client.trusted_point() == point, name
            assert stored(home, chain).read_bytes() == before, name
        liar.change = honest
        assert client.proven_account(key("v0").address).value.balance == chain.balance("v0")
        assert stored(home, chain).read_bytes() != before


def test_lies_about_blocks(chain: SmallChain, liar: Liar, home: Path) -> None:
    """Blocks of other heights, blocks without a proof of their own, and altered ones below those that are final."""
    last = chain.chain.head.height
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()

        def answer(given: int, altered: bool = False, **parts: Any) -> None:
            def change(method: str, params: dict[str, Any], result: Any) -> Any:
                if method == "chain.status":
                    return result | {"height": last - 1}
                if method != "chain.block" or params.get("height") != given:
                    return result
                header = result["header"] | ({"state_root": "ab" * 32} if altered else {})
                return result | {"header": header, "proof": None} | parts

            liar.change = change

        low, high = EPOCH_BLOCKS + 1, last - 1
        for height in (low, high):
            true = chain.reader().block(Height(height))
            assert true is not None
            answer(height)
            assert client.proven_header(height) == true.header
            answer(height, altered=True)
            with pytest.raises(ProofError):
                client.proven_header(height)
            for other in (height - 1, height + 1):
                liar.change = honest
                wrong = client.call("chain.block", height=other, history=True)
                answer(height, header=wrong["header"], proof=wrong["proof"], history=wrong["history"])
                with pytest.raises(ProofError):
                    client.proven_header(height)
        # The last block has no proof of its own here, and the one above it has.
        answer(high)
        assert client.verified_head().height == high
        answer(high, altered=True)
        with pytest.raises(ProofError):
            client.verified_head()
        answer(high, header=client.call("chain.block", height=low)["header"])
        with pytest.raises(ProofError):
            client.verified_head()


def test_an_older_point_never_replaces_a_newer_one(chain: SmallChain, home: Path) -> None:
    with Client(chain.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
        newest = stored(home, chain).read_bytes()
        header = client.proven_header(EPOCH_BLOCKS)
    file = PointFile(Home(home), chain.genesis_hash.hex())
    older = begin(header, chain.chain.validator_table(Epoch(1)), checkpoint(chain, EPOCH_BLOCKS), CHAIN_ID)
    file.save(older)
    assert stored(home, chain).read_bytes() == newest
    with pytest.raises(StorageError, match="another chain"):
        file.load("another-chain")
    stored(home, chain).unlink()
    file.save(older)
    assert file.load(CHAIN_ID) == older


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where there is something in an answer."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield from places(each, (*at, name))


def replaced(value: Any, at: tuple[str | int, ...], new: Callable[[Any], Any]) -> Any:
    if not at:
        return new(value)
    changed = copy.copy(value)
    changed[at[0]] = replaced(changed[at[0]], at[1:], new)
    return changed


ANYTHING: tuple[Callable[[Any], Any], ...] = (
    lambda value: digits(value) if isinstance(value, str) and value else 7,
    lambda value: value + 1 if isinstance(value, int) else None,
    lambda value: value - 1 if isinstance(value, int) else [],
    lambda value: value[1:] if isinstance(value, str | list) else {},
    lambda value: value[::-1] if isinstance(value, str | list) else "",
    lambda value: value * 2 if isinstance(value, str | list) else -(2**70),
    lambda value: None,
    lambda value: True,
    lambda value: 1.5,
    lambda value: {"header": value},
)
METHODS = ("light.steps", "chain.block", "state.row", "tx.get", "chain.validators", "chain.status")


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_is_answered_it_is_the_truth_or_an_error(
    chain: SmallChain, liar: Liar, home: Path, data: st.DataObject
) -> None:
    """One thing anywhere in the answers of one method is another, of any kind: a typed error, or what is so all the same."""
    method = data.draw(st.sampled_from(METHODS))
    new = data.draw(st.sampled_from(ANYTHING))
    only = data.draw(st.sampled_from([None, 0, 1, 2]))
    choose = random.Random(data.draw(st.integers(0, 2**32)))
    count = 0

    def change(name: str, params: dict[str, Any], result: Any) -> Any:
        nonlocal count
        if name != method:
            return result
        count += 1
        if only not in (None, count - 1):
            return result
        return replaced(result, choose.choice(list(places(result))), new)

    shutil.rmtree(home, ignore_errors=True)
    with Client(chain.endpoint, home=home) as client:
        sent = client.transactions(key("v1").address)[0][-1]["id"]
    liar.change = change
    who = key("contributor").address
    start = data.draw(st.sampled_from([0, 3, EPOCH_BLOCKS]))
    retry = Retry(attempts=1)
    with Client(liar.endpoint, checkpoint=checkpoint(chain, start), home=home, retry=retry) as client:
        for ask, truth in (
            (lambda: client.proven_account(who).value.balance, chain.balance("contributor")),
            (lambda: client.proven_receipt(sent).value.transaction_id.hex(), sent),
            (lambda: client.proven_header(2).hash, block_hash(chain, 2)),
        ):
            with contextlib.suppress(ProtocolError):
                assert ask() == truth
    liar.change = honest
    assert not liar.faults
    for path in (home / "light").glob("*.json"):
        assert path == stored(home, chain)
        kept = json.loads(path.read_text())
        header = decode(Header, bytes.fromhex(kept["header"]))
        assert header.hash == block_hash(chain, kept["height"])


def test_a_node_that_goes_back_is_noticed(chain: SmallChain, liar: Liar, home: Path) -> None:
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
        low = EPOCH_BLOCKS + 2

        def before(method: str, params: dict[str, Any], result: Any) -> Any:
            if method == "chain.status":
                return result | {"height": low, "epoch": 1}
            return result | {"height": low} if method == "state.row" else result

        liar.change = before
        with pytest.raises(ProofError, match="verified before"):
            client.verified_head()
        with pytest.raises(ProofError):  # an old height for a row of now
            client.proven_account(key("second").address)
