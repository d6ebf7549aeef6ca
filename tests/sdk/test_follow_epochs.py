"""The SDK follows the epochs of a running chain whose validators change, through a node that lies whenever it can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from omnitensor.light import Checkpoint, CheckpointError, begin
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.types import Epoch, Hash, Height
from omnitensor.sdk import (
    AsyncClient,
    Client,
    Home,
    InputError,
    ProofError,
    TrustError,
    Wallet,
    WrongChainError,
)
from omnitensor.sdk.trust import PointFile
from tests.sdk.liar import Liar, Refusal
from tests.sdk.moving_chain import (
    EPOCH_BLOCKS,
    EPOCHS_MIN,
    PARAMS,
    block_hash,
    checkpoint,
    identity,
    newest_boundary,
    stored,
)
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("follow-epochs")


@pytest.fixture(scope="module")
def chain(moving_chain: SmallChain) -> SmallChain:
    return moving_chain


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


def test_a_newer_checkpoint_takes_over_from_what_is_too_old(
    chain: SmallChain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = checkpoint(chain, EPOCH_BLOCKS), checkpoint(chain, 3 * EPOCH_BLOCKS + 2)
    table = chain.chain.validator_table(Epoch(1))
    header = chain.reader().block(old.height)
    assert header is not None
    PointFile(Home(home), chain.genesis_hash.hex()).save(begin(header.header, table, old, CHAIN_ID))
    newer = chain.reader().block(new.height)
    assert newer is not None
    assert header.header.timestamp_ms < newer.header.timestamp_ms
    now_ms = int(header.header.timestamp_ms) + 1_000_000
    monkeypatch.setattr("omnitensor.sdk.epochs._now_ms", lambda: now_ms)
    with (
        Client(chain.endpoint, chain=identity(chain), home=home, trust_period_s=1_000) as client,
        pytest.raises(TrustError),
    ):
        client.verified_head()
    with Client(
        chain.endpoint, chain=identity(chain), checkpoint=new, home=home, trust_period_s=1_000
    ) as client:
        assert client.verified_head().checkpoint == checkpoint(chain, newest_boundary(chain))
    assert json.loads(stored(home, chain).read_text())["height"] == newest_boundary(chain)


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
