"""The SDK follows the epochs of a running chain whose validators change, through a node that lies whenever it can."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnitensor.light import Checkpoint, CheckpointError
from omnitensor.protocol import bls
from omnitensor.protocol.blocks import Header
from omnitensor.protocol.bodies import StakeWithdraw, ValidatorEdit, ValidatorRegister
from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.types import NANO, Amount, Hash, Height
from omnitensor.sdk import (
    AsyncClient,
    ChainIdentity,
    Client,
    InputError,
    ProofError,
    ResponseError,
    Retry,
    TrustError,
    Wallet,
    WrongChainError,
)
from tests.sdk.liar import Liar, Refusal, honest
from tests.sdk.small_chain import CHAIN_ID, FAST, SmallChain
from tests.state.chain_fixtures import consensus_secret, key

pytestmark = pytest.mark.xdist_group("follow-epochs")

EPOCH_BLOCKS = 8
PARAMS = msgspec.structs.replace(FAST, epoch_blocks=EPOCH_BLOCKS, validator_stake_min=Amount(1_000 * NANO))
EPOCHS_MIN = 4


def registration(name: str) -> ValidatorRegister:
    secret = consensus_secret(name)
    return ValidatorRegister(Amount(5_000 * NANO), bls.sk_to_pk(secret), bls.pop_prove(secret), 1_000, name)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """Runs, and had another set of voters in each of three epochs; it stands still in the middle of an epoch."""
    found = SmallChain(tmp_path_factory.mktemp("node"), PARAMS)
    anew = consensus_secret("v1-anew")
    changes = {
        "second": registration("v4"),
        "v1": ValidatorEdit(bls.sk_to_pk(anew), bls.pop_prove(anew), None, None),
        "v3": StakeWithdraw(Amount(100_000 * NANO)),
    }
    with Client(found.endpoint, home=tmp_path_factory.mktemp("home")) as client:
        for name, body in changes.items():
            epoch = found.chain.epoch
            client.execute(Wallet(key(name), key(name).address), body)
            found.until(lambda epoch=epoch: found.chain.epoch > epoch)  # type: ignore[misc] # a lambda's default
    found.until(lambda: found.chain.epoch >= EPOCHS_MIN and found.chain.head.height % EPOCH_BLOCKS == 4)
    found.is_paused = True
    sets = [found.chain.validator_table(epoch).entries for epoch in range(EPOCHS_MIN + 1)]
    assert len(set(sets)) >= 4
    yield found
    found.stop()


@pytest.fixture(scope="module")
def liars(chain: SmallChain) -> Iterator[Liar]:
    made = Liar(chain.endpoint)
    yield made
    made.stop()


@pytest.fixture
def liar(liars: Liar) -> Liar:
    liars.change = honest
    liars.calls.clear()
    return liars


def identity(chain: SmallChain) -> ChainIdentity:
    return ChainIdentity(CHAIN_ID, chain.genesis_hash.hex())


def stored(home: Path, chain: SmallChain) -> Path:
    return home / "light" / f"{chain.genesis_hash.hex()}.json"


def block_hash(chain: SmallChain, height: int) -> Hash:
    block = chain.reader().block(Height(height))
    assert block is not None
    return block.hash


def checkpoint(chain: SmallChain, height: int) -> Checkpoint:
    return Checkpoint(Height(height), block_hash(chain, height))


def newest_boundary(chain: SmallChain) -> int:
    return chain.chain.epoch * EPOCH_BLOCKS


def test_from_genesis_to_now(chain: SmallChain, liar: Liar, home: Path) -> None:
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        found = client.proven_account(key("second").address)
        assert found.value.balance == chain.balance("second")
        assert found.height == chain.chain.head.height
        point = client.trusted_point()
        assert point.epoch == chain.chain.epoch >= EPOCHS_MIN
        assert point.table.hash == chain.chain.validator_table().hash
        verified = client.verified_head()
        assert verified.header == chain.chain.head.header
        assert verified.checkpoint == checkpoint(chain, newest_boundary(chain))
        for height in range(chain.chain.head.height + 1):
            assert client.proven_header(height).hash == block_hash(chain, height)
        for name in ("second", "v1", "v3"):
            sent, _ = client.transactions(key(name).address)
            (mine,) = [each for each in sent if each["kind"] != "transfer"]
            assert client.proven_receipt(mine["id"]).height == mine["height"]
    assert liar.calls["light.steps"] == 2, "once on the way, and once to ask whether there is more"
    assert json.loads(stored(home, chain).read_text())["height"] == newest_boundary(chain)


def test_another_client_goes_on_where_the_last_one_was(chain: SmallChain, liar: Liar, home: Path) -> None:
    def verify() -> Checkpoint:
        with Client(liar.endpoint, chain=identity(chain), home=home) as client:
            return client.verified_head().checkpoint

    first = verify()
    liar.calls.clear()
    liar.lie(
        "chain.validators", lambda answer: answer | {"validators": []}
    )  # asked for at the beginning alone
    assert verify() == first
    assert liar.calls["chain.validators"] == 0


def test_a_running_client_crosses_boundaries(
    chain: SmallChain, home: Path, wallet: Callable[[str], Wallet]
) -> None:
    chain.is_paused = False
    try:
        with Client(chain.endpoint, chain=identity(chain), home=home) as client:
            before = client.verified_head()
            while chain.chain.epoch < before.point.epoch + 2:
                found = client.proven_account(key("contributor").address)
                assert found.header.epoch >= before.header.epoch
            assert client.verified_head().point.epoch >= before.point.epoch + 2
            assert client.proven_header(before.height) == before.header

        async def many() -> None:
            async with AsyncClient(chain.endpoint, chain=identity(chain), home=home) as client:
                for _ in range(12):
                    reads = [client.proven_header(height) for height in (0, 1, before.height)]
                    await asyncio.gather(client.verified_head(), *reads)

        asyncio.run(many())
    finally:
        chain.until(lambda: chain.chain.head.height % EPOCH_BLOCKS == 4)
        chain.is_paused = True


@pytest.mark.parametrize("offset", [0, 1, 5, EPOCH_BLOCKS, 2 * EPOCH_BLOCKS + 3])
def test_a_checkpoint_is_enough(chain: SmallChain, liar: Liar, home: Path, offset: int) -> None:
    given = str(checkpoint(chain, offset))
    with Client(liar.endpoint, checkpoint=given, home=home) as client:
        assert client.verified_head().header == chain.chain.head.header
        assert client.proven_header(0).hash == chain.genesis_hash
    assert stored(home, chain).exists()
    with Client(liar.endpoint, chain=identity(chain), checkpoint=given, home=home) as client:
        assert client.verified_head().checkpoint == checkpoint(chain, newest_boundary(chain))


def test_wrong_checkpoints(chain: SmallChain, liar: Liar, home: Path, tmp_path: Path) -> None:
    wrong = Checkpoint(Height(EPOCH_BLOCKS), Hash(bytes(32)))
    other_height = Checkpoint(Height(3), block_hash(chain, 4))
    for named in (wrong, other_height):
        with Client(liar.endpoint, checkpoint=named, home=home) as client, pytest.raises(ProofError):
            client.verified_head()
    assert not (home / "light").exists()
    zero = Checkpoint(Height(0), Hash(bytes(32)))
    for chain_given in (None, identity(chain)):
        with (
            Client(liar.endpoint, chain=chain_given, checkpoint=zero, home=home) as client,
            pytest.raises(WrongChainError),
        ):
            client.verified_head()
    with pytest.raises(CheckpointError):
        Client(liar.endpoint, checkpoint="12:ab", home=home)
    with pytest.raises(InputError, match="trust period"):
        Client(liar.endpoint, trust_period_s=0, home=home)
    # One that is below what was verified already must be on its chain.
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
    before = stored(home, chain).read_bytes()
    with (
        Client(liar.endpoint, chain=identity(chain), checkpoint=wrong, home=home) as client,
        pytest.raises(ProofError, match=f"height {EPOCH_BLOCKS} is another one"),
    ):
        client.proven_account(key("v0").address)
    assert stored(home, chain).read_bytes() == before


def test_with_a_checkpoint_the_node_may_not_name_another_genesis(
    chain: SmallChain, liar: Liar, home: Path
) -> None:
    """What it says of itself decides in which file the point is remembered: so it is proven as well."""
    liar.lie("chain.status", lambda answer: answer | {"genesis_hash": "ab" * 32})
    given = checkpoint(chain, EPOCH_BLOCKS)
    with (
        Client(liar.endpoint, checkpoint=given, home=home) as client,
        pytest.raises(ProofError, match="height 0 is another one"),
    ):
        client.verified_head()
    assert not (home / "light").exists()


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

    for name in step["header"]:
        if name != "hash":  # what a node calls the header is not looked at
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
    """The client stands at the first boundary; each lie is in the second step of the page that follows."""
    with Client(liar.endpoint, checkpoint=checkpoint(chain, EPOCH_BLOCKS), home=home) as client:
        liar.lie("light.steps", lambda answer: answer | {"steps": [], "next": None})
        with pytest.raises(ProofError, match="does not show who votes"):
            client.proven_account(key("v0").address)  # genesis is to be proven, from the last block
        assert not (home / "light").exists()
        page = client.call("light.steps", epoch=1)
        liar.change = honest
        page = client.call("light.steps", epoch=1)
        steps = page["steps"]
        assert len(steps) >= 3
        assert steps[1]["voters"] is not None
    # Remembered at the first boundary, as a client that was here then would have it.
    with Client(liar.endpoint, chain=identity(chain), home=home) as client:
        liar.lie("light.steps", lambda answer: answer | {"steps": answer["steps"][:1], "next": None})
        with pytest.raises(ProofError):
            client.proven_account(key("v0").address)
        point = client.trusted_point()
        assert point.height == EPOCH_BLOCKS
        before = stored(home, chain).read_bytes()
        others = {
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


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_trust_that_is_too_old_asks_for_a_checkpoint(chain: SmallChain, liar: Liar, home: Path) -> None:
    with (
        Client(chain.endpoint, chain=identity(chain), home=home, trust_period_s=1) as client,
        pytest.raises(TrustError, match="newer checkpoint") as raised,
    ):
        client.proven_account(key("v0").address)
    assert raised.value.value.startswith(f"0:{chain.genesis_hash.hex()}"[:20])
    refusal = Refusal(code="not_found", reason="not kept", value="1", remedy="begin with epoch 9 or later")
    for method in ("chain.validators", "light.steps"):
        liar.lie(method, lambda answer: refusal)
        with (
            Client(liar.endpoint, chain=identity(chain), home=home) as client,
            pytest.raises(TrustError, match=r"newer checkpoint.*epoch 9 or later"),
        ):
            client.proven_account(key("v0").address)
    # Remembering does not make it younger.
    with Client(chain.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
    with (
        Client(chain.endpoint, chain=identity(chain), home=home, trust_period_s=0.001) as client,
        pytest.raises(TrustError),
    ):
        client.proven_header(0)


def test_a_chain_that_has_just_begun(tmp_path: Path, home: Path) -> None:
    """Genesis has no proof and needs none."""
    young = SmallChain(tmp_path / "young", PARAMS)
    young.is_paused = True
    try:
        with Client(young.endpoint, chain=identity(young), home=home) as client:
            if young.chain.head.height == 0:
                assert client.verified_head().header == young.chain.genesis.block.header
                assert client.proven_account(key("v0").address).height == 0
            young.is_paused = False
            young.wait_blocks(1)
            assert client.verified_head().height >= 1
            assert client.proven_header(0).hash == young.genesis_hash
    finally:
        young.stop()


def test_a_damaged_file_is_named(chain: SmallChain, home: Path) -> None:
    with Client(chain.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
    path = stored(home, chain)
    sound = json.loads(path.read_text())
    for damage in (
        {"header": sound["header"][:-2]},
        {"header": "xy"},
        {"voters": sound["voters"][2:]},
        {"epoch": sound["epoch"] + 1},
        {"epoch": -1},
    ):
        path.write_text(json.dumps(sound | damage))
        with (
            Client(chain.endpoint, chain=identity(chain), home=home) as client,
            pytest.raises(StorageError, match="move the file away"),
        ):
            client.verified_head()
    path.write_text("{")
    with (
        Client(chain.endpoint, chain=identity(chain), home=home) as client,
        pytest.raises(StorageError),
    ):
        client.verified_head()
    path.unlink()
    with Client(chain.endpoint, chain=identity(chain), home=home) as client:
        client.verified_head()
