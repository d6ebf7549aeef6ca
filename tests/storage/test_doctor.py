"""omnitensor-node doctor: finds planted faults of every kind, says what to do, and mends only what it is told to."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from node import config as configuration
from node import repairs, snapshot_work
from node.cli import commands
from node.safety_store import FILE_NAME
from node.setup import make_folder
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.types import Height, TimeMs
from state import opening
from state.chain import Chain
from state.genesis import Genesis
from state.ledger import worker_sets
from state.records import TransactionRef
from state.schema import ACCOUNTS, BLOCKS, TRANSACTIONS_BY_ADDRESS
from state.snapshots import taking
from state.store import Store
from tests.state.chain_fixtures import key
from tests.storage.chains import EPOCH_BLOCKS, genesis_of, grow, rows

HEIGHT = 2 * EPOCH_BLOCKS + 1


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's folder, as init makes it, with a chain that has grown, and a snapshot."""
    (tmp_path / "genesis.json").write_text(genesis_of().to_json(), encoding="utf-8")
    home = tmp_path / "home"
    make_folder(home, tmp_path / "genesis.json", {"rpc.listen": "127.0.0.1:0", "p2p.listen": "127.0.0.1:0"})
    chain = opened(home)
    grow(chain, 2 * EPOCH_BLOCKS)
    taking.take(chain.reader(), chain.genesis_hash, home / "snapshots")
    grow(chain, 1)
    chain.close()
    return home


def test_too_few_open_files_are_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grants = {"soft": 256, "hard": 512}
    monkeypatch.setattr(resource, "getrlimit", lambda _: (grants["soft"], grants["hard"]))
    status, wrong = found(home)
    assert status == 1
    said = wrong["files", "error"]
    assert said.startswith("512 may be open")
    assert "LimitNOFILE=" in said
    assert "--ulimit nofile=" in said
    grants["hard"] = 4_096
    assert ("files", "error") not in found(home)[1], "the node raises the soft limit itself"
    grants["hard"] = resource.RLIM_INFINITY
    assert ("files", "error") not in found(home)[1]


def opened(home: Path) -> Chain:
    return Chain.open(home / "chain", Genesis.load(home / "genesis.json"))


def doctor(home: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    """Its exit status and what it said as JSON."""
    result = CliRunner().invoke(commands, ["doctor", "--home", str(home), "--json", *flags])
    if isinstance(result.exception, ProtocolError):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def found(home: Path, *flags: str) -> tuple[int, dict[tuple[str, str], str]]:
    """The exit status, and by check and level what is wrong, the remedy included."""
    status, said = doctor(home, *flags)
    assert (status == 0) == said["ok"]
    wrong: dict[tuple[str, str], str] = {}
    for each in said["findings"]:
        if each["level"] != "good":
            assert each["remedy"], each
            place = each["check"], each["level"]
            wrong[place] = wrong.get(place, "") + f"{each['what']} -> {each['remedy']}\n"
    return status, wrong


def test_a_sound_node_is_said_to_be_sound(home: Path) -> None:
    for flags in ((), ("--deep",)):
        status, wrong = found(home, *flags)
        assert status == 0
        assert set(wrong) == {("peers", "warning"), ("clock", "warning")}, wrong
        assert "p2p.bootstrap" in wrong["peers", "warning"]
        assert "hours old" in wrong["clock", "warning"]
    text = CliRunner().invoke(commands, ["doctor", "--home", str(home)]).stdout
    assert "nothing keeps this node from working" in text
    assert f"height {HEIGHT}" in text


def test_planted_faults_are_found(home: Path) -> None:
    """Each of them alone, and taken away again."""
    config = home / "config.toml"
    whole = config.read_text()
    config.write_text("[rpc]\nlissten = 1\n")
    assert "unknown setting" in found(home)[1]["config", "error"]
    config.write_text(whole)

    (home / "genesis.json").rename(home / "g")
    assert "genesis" in found(home)[1]["genesis", "error"]
    (home / "g").rename(home / "genesis.json")

    secret = home / "keys" / "identity.secret"
    secret.chmod(0o644)
    assert f"chmod 600 {secret}" in found(home)[1]["keys", "error"]
    secret.chmod(0o600)
    (home / "keys").chmod(0o755)
    assert f"chmod 700 {home / 'keys'}" in found(home)[1]["keys", "warning"]
    (home / "keys").chmod(0o700)

    safety = home / "safety" / FILE_NAME
    os.utime(safety, (1, 1))
    assert "never start with one" in found(home)[1]["safety", "warning"]
    os.utime(safety)
    for path in sorted((home / "safety").iterdir()):
        path.rename(home / path.name)
    assert "safety init" in found(home)[1]["safety", "warning"]

    snapshot = next((home / "snapshots").iterdir())
    data = bytearray(snapshot.read_bytes())
    data[1_000] ^= 1
    snapshot.write_bytes(data)
    assert ("snapshots", "warning") not in found(home)[1], "its chunks are read with --deep alone"
    assert "chunk" in found(home, "--deep")[1]["snapshots", "warning"]
    snapshot.write_bytes(data[:-1])
    assert "remove it" in found(home)[1]["snapshots", "warning"]

    (home / "chain.made").mkdir()
    assert "snapshot import" in found(home)[1]["database", "warning"]
    (home / "chain.made").rmdir()
    assert found(home)[0] == 0


def test_ports_and_peers(home: Path) -> None:
    with socket.socket() as listener, socket.socket() as nobody:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        nobody.bind(("127.0.0.1", 0))
        open_port, closed_port = listener.getsockname()[1], nobody.getsockname()[1]
        nobody.close()
        settings = {
            "rpc.listen": f"127.0.0.1:{open_port}",
            "p2p.listen": "127.0.0.1:0",
            "p2p.bootstrap": (f"127.0.0.1:{open_port}", f"127.0.0.1:{closed_port}"),
        }
        configuration.write_file(home / "config.toml", settings)
        status, wrong = found(home)
        assert status == 1
        assert "another process listens" in wrong["ports", "error"]
        assert f"127.0.0.1:{closed_port} can't be reached" in wrong["peers", "warning"]
        assert ("peers", "error") not in wrong
        configuration.write_file(
            home / "config.toml", settings | {"p2p.bootstrap": (f"127.0.0.1:{closed_port}",)}
        )
        assert "none of the peers" in found(home)[1]["peers", "error"]


def test_a_clock_that_is_behind_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = opened(home)
    head_ms = TimeMs(chain.head.header.timestamp_ms)
    chain.close()
    now = head_ms / 1_000 - 100
    monkeypatch.setattr(time, "time", lambda: now)
    assert "in the future of this machine's clock" in found(home)[1]["clock", "error"]


def test_a_full_disk_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"total": 10**12, "used": 0, "free": 10**8})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert "make room" in found(home)[1]["disk", "error"]


def test_a_running_node_is_left_alone(home: Path) -> None:
    chain = opened(home)
    status, said = doctor(home)
    assert status == 0
    assert any("a node runs here" in each["what"] for each in said["findings"])
    for flag in ("--refetch", "--replay", "--rebuild-indexes"):
        with pytest.raises(ProtocolError, match="stop the other node"):
            doctor(home, flag)
    chain.close()


def damage(home: Path, changed: dict[bytes, bytes | None]) -> None:
    """Rows changed behind the checksums."""
    store = Store.open(home / "chain")
    store.write(list(changed.items()))
    store.close()


def test_a_wrong_state_is_found_and_replayed(home: Path) -> None:
    chain = opened(home)
    before, head = rows(chain), chain.head
    chain.close()
    damage(home, {ACCOUNTS.full_key(key("a0").address): None})
    status, wrong = found(home)
    assert status == 1
    assert "--replay" in wrong["database", "error"]
    assert "--refetch" in wrong["database", "error"]
    assert not list(home.glob("chain.aside*")), "nothing is mended in silence"
    _, done = doctor(home, "--replay")
    assert (done["height"], done["ended_by"]) == (HEIGHT, "")
    assert Path(done["aside"]).is_dir()
    chain = opened(home)
    assert rows(chain) == before
    assert chain.head == head
    chain.close()
    assert "remove it once you are sure" in found(home)[1]["disk", "warning"]


def test_a_replay_ends_before_the_first_block_that_is_wrong(home: Path) -> None:
    damage(home, {BLOCKS.full_key(6): b"nonsense"})
    assert found(home)[0] == 1
    _, done = doctor(home, "--replay")
    assert done["height"] == 5
    assert done["ended_by"].startswith("block 6: ")
    chain = opened(home)
    assert chain.head.height == 5
    grow(chain, 2)
    chain.close()


def test_wrong_indexes_are_made_anew(home: Path) -> None:
    chain = opened(home)
    before = rows(chain)
    chain.close()
    address = key("a0").address
    damage(
        home,
        {
            TRANSACTIONS_BY_ADDRESS.full_key(address, 3, 900): encode(TransactionRef(bytes(32))),
            next(k for k in before if k[0] == TRANSACTIONS_BY_ADDRESS.prefix): None,
        },
    )
    assert found(home)[0] == 0, "looked at with --deep alone"
    assert "--rebuild-indexes" in found(home, "--deep")[1]["indexes", "error"]
    doctor(home, "--rebuild-indexes")
    chain = opened(home)
    assert rows(chain) == before
    chain.close()


def test_files_that_are_beyond_repair_are_replaced(home: Path) -> None:
    """By a snapshot, and by nothing at all, which peers fill."""
    chain = opened(home)
    header = chain.reader().block(Height(2 * EPOCH_BLOCKS))
    assert header is not None
    chain.close()
    (home / "chain" / "CURRENT").unlink()
    with pytest.raises(ProtocolError, match="omnitensor-node doctor") as refused:
        opened(home)
    assert "b'" not in str(refused.value)
    status, wrong = found(home)
    assert status == 1
    assert "can't be read at all" in wrong["database", "error"]
    assert "--refetch" in wrong["database", "error"]
    assert "--replay" not in wrong["database", "error"], "of nothing nothing is replayed"
    with pytest.raises(ProtocolError):
        doctor(home, "--replay")
    snapshot = next((home / "snapshots").iterdir())
    checkpoint = f"{2 * EPOCH_BLOCKS}:{header.hash.hex()}"
    _, done = doctor(home, "--restore", str(snapshot), "--checkpoint", checkpoint)
    assert (done["height"], Path(done["aside"]).name) == (2 * EPOCH_BLOCKS, "chain.aside-1")
    chain = opened(home)
    assert chain.head.hash == header.hash
    chain.close()
    assert doctor(home, "--refetch")[1]["height"] == 0
    chain = opened(home)
    assert chain.head.height == 0
    chain.close()
    assert sorted(path.name for path in home.glob("chain*")) == ["chain", "chain.aside-1", "chain.aside-2"]


def test_one_repair_at_a_time(home: Path) -> None:
    result = CliRunner().invoke(commands, ["doctor", "--home", str(home), "--replay", "--refetch"])
    assert result.exit_code == 2
    assert "one way to mend" in result.output


@pytest.fixture
def small(home: Path) -> Iterator[Callable[[str], Path]]:
    """Puts a part of the folder on a disk of its own, of two MiB and full; the file that fills it."""
    mounted: list[Path] = []

    def put(part: str) -> Path:
        place, kept = home / part, home / f"{part}.kept"
        place.rename(kept)
        place.mkdir(mode=0o700)
        line = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("no right to mount")
        mounted.append(place)
        shutil.copytree(kept, place, dirs_exist_ok=True)
        return fill(place)

    yield put
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))
    return filler


def test_a_full_disk_of_the_database_is_not_damage(home: Path, small: Callable[[str], Path]) -> None:
    """Nothing that would throw the database away is advised, and room is all that it needs."""
    filler = small("chain")
    status, said = doctor(home)
    texts = [each["what"] + each["remedy"] for each in said["findings"] if each["level"] == "error"]
    assert status == 1
    assert not any("--refetch" in text or "--replay" in text for text in texts), texts
    assert any(str(home / "chain") in text and "make room" in text for text in texts), texts
    filler.unlink()
    assert ("database", "error") not in found(home)[1]


def test_a_full_disk_under_the_safety_store_alone_is_found(home: Path, small: Callable[[str], Path]) -> None:
    small("safety")
    status, said = found(home)
    assert status == 1
    assert str(home / "safety") in said["disk", "error"]


def test_an_export_that_finds_no_room_leaves_nothing(home: Path, small: Callable[[str], Path]) -> None:
    filler = small("safety")
    os.truncate(filler, filler.stat().st_size - 4_096)  # room to begin, and no more
    out = home / "safety" / "out.snapshot"
    with pytest.raises(ProtocolError, match="can't be written") as refused:
        snapshot_work.export(home, None, out)
    assert refused.value.value == str(out)
    assert not list((home / "safety").glob("out*"))


def test_a_folder_that_can_not_be_written_is_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != home / "safety" and access(path, mode))
    assert str(home / "safety") in found(home)[1]["disk", "error"]


def test_a_database_of_another_chain_is_not_damage(home: Path) -> None:
    genesis = home / "genesis.json"
    genesis.write_text(genesis.read_text().replace(Genesis.load(genesis).chain_id, "another-chain"))
    said = found(home)[1]["database", "error"]
    assert "of another chain" in said
    assert "version" in said
    assert "--replay" not in said


def test_a_validator_without_its_safety_store_does_not_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home / "safety")
    assert found(home)[0] == 0, "a node that only follows needs none"
    monkeypatch.setattr(worker_sets, "may_lead_with", lambda *_: True)
    status, said = found(home)
    assert status == 1
    assert "does not start" in said["safety", "error"]


def test_what_an_interrupted_replay_has_left_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle; then done to its end, which sets the unfinished one aside."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_work, "put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            repairs.replay(home, lambda *_: None)
    said = found(home)[1]["database", "warning"]
    assert "a repair, was interrupted" in said
    assert "--replay" in said
    repairs.replay(home, lambda *_: None)
    status, after = found(home)
    assert ("database", "warning") not in after
    assert f"an earlier database is kept: {home / 'chain.aside-1'}" in after["disk", "warning"]
    assert f"an unfinished one is kept: {home / 'chain.made.aside-1'}" in after["disk", "warning"]
    assert status == 0


def test_a_database_of_another_version_costs_nobody_the_keys(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removed the whole folder would lose the keys, and what the validator has signed."""
    monkeypatch.setattr(opening, "SCHEMA_VERSION", opening.SCHEMA_VERSION + 1)
    said = found(home)[1]["database", "error"]
    assert "keep keys/ and safety/" in said
    assert "remove the folder" not in said
    assert "--replay" not in said
