"""What can be wrong when a node starts: one line that names the culprit, exit code 1, nothing half done or locked."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from node import cli, logs
from node.safety_files import DiskFiles
from node.service import Node
from node.setup import make_folder
from omnitensor.protocol.errors import ProtocolError
from state.chain import Chain
from state.genesis import Genesis
from tests.node.node_kit import CHAIN_ID, Folders, make_folders, node_at


@dataclass
class Case:
    """A folder to be spoiled, and what the command line says then."""

    folders: Folders
    home: Path
    run: Callable[..., tuple[int, str]]

    def refused(self, *words: str, arguments: tuple[str, ...] = ()) -> str:
        """Starts the node, which must refuse in one line with these words; nothing is left locked."""
        code, error = self.run("start", "--home", str(self.home), *arguments)
        assert code == 1, error
        assert error.startswith("error: "), error
        assert len(error.strip().splitlines()) == 1, error
        for word in words:
            assert word in error, error
        return error


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_folders(tmp_path_factory.mktemp("folders"))


@pytest.fixture
def case(
    made: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Case:
    home = tmp_path / "node"
    shutil.copytree(made.homes[0], home)
    # The process's log settings would outlive the test.
    monkeypatch.setattr(logs, "configure", lambda *_: None)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["omnitensor-node", *arguments])
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 99
        return code, capsys.readouterr().err

    return Case(made, home, run)


def flip(path: Path, at: int) -> None:
    """One bit of a file, as a bad disk has it."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_no_folder(case: Case, tmp_path: Path) -> None:
    code, error = case.run("start", "--home", str(tmp_path / "nowhere"))
    assert code == 1
    assert error.startswith("error: ")
    assert "init" in error
    assert not (tmp_path / "nowhere").exists()


def test_a_home_that_is_a_file(case: Case, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, error = case.run("start", "--home", str(tmp_path / "file"))
    assert code in (1, 2)
    assert "Traceback" not in error
    assert "file" in error


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("not toml at all [", "not TOML"),
        ('[rpc]\nlisten = "nonsense"\n', "rpc.listen"),
        ("[rpc]\nport = 1\n", "rpc.port"),
        ('[p2p]\nbootstrap = ["no-port"]\n', "no-port"),
        ('[node]\nname = "x"\n[content]\nquota_mib = -1\n', "content.quota_mib"),
    ],
)
def test_a_configuration_that_says_nonsense(case: Case, text: str, word: str) -> None:
    (case.home / "config.toml").write_text(text)
    case.refused(word)


def test_a_configuration_that_is_a_folder(case: Case) -> None:
    (case.home / "config.toml").unlink()
    (case.home / "config.toml").mkdir()
    case.refused("config.toml")


def test_a_slip_in_a_setting_names_what_was_meant(case: Case) -> None:
    config = case.home / "config.toml"
    config.write_text("[snapshots]\nevry = 3\n")
    assert len(case.refused("snapshots.evry", "write snapshots.every")) < 200
    config.write_text("[nothing]\nlike = 3\n")
    case.refused("nothing.like", "snapshots.every", "rpc.listen")


@pytest.mark.parametrize("name", ["consensus.json", "consensus.password", "identity.secret"])
def test_keys_missing_damaged_or_open_to_others(case: Case, name: str) -> None:
    path = case.home / "keys" / name
    kept = path.read_bytes()
    path.unlink()
    case.refused(name)
    path.write_bytes(b"\x00garbage")
    path.chmod(0o600)
    case.refused("identity.secret" if name == "identity.secret" else "consensus.json")
    path.write_bytes(kept)
    path.chmod(0o644)
    case.refused(name, "chmod 600")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"chain_id": 5}', '{"a": NaN}', "\x00"])
def test_a_genesis_that_is_none(case: Case, text: str) -> None:
    (case.home / "genesis.json").write_text(text)
    case.refused("genesis.json")


def test_no_genesis(case: Case) -> None:
    (case.home / "genesis.json").unlink()
    case.refused("genesis.json")


def test_the_genesis_of_another_chain(case: Case, tmp_path: Path) -> None:
    other = make_folders(tmp_path / "other", validators=1)
    shutil.copy(other.genesis_file, case.home / "genesis.json")
    case.refused("another chain", CHAIN_ID)


def test_no_chain(case: Case) -> None:
    shutil.rmtree(case.home / "chain")
    case.refused("chain", "init")


def test_a_database_without_its_beginning(case: Case) -> None:
    (case.home / "chain" / "CURRENT").unlink()
    case.refused("damaged", "chain")


def test_a_database_with_a_flipped_bit(case: Case) -> None:
    files = [path for path in (case.home / "chain").iterdir() if path.suffix in (".log", ".ldb", ".sst")]
    written = max(files, key=lambda path: path.stat().st_size)
    flip(written, written.stat().st_size // 2)
    case.refused("damaged")


def test_a_chain_that_another_process_has(case: Case) -> None:
    other = Chain.open(case.home / "chain")
    try:
        case.refused("another process", "chain")
    finally:
        other.close()


def test_a_safety_store_that_another_process_has(case: Case) -> None:
    other = DiskFiles(case.home / "safety")
    other.lock()
    try:
        case.refused("another process", "safety")
    finally:
        other.unlock()


def test_a_lost_safety_store(case: Case) -> None:
    """R9: a validator that does not know what it has signed does not sign."""
    (case.home / "safety" / "votes").unlink()
    case.refused("safety store is missing", "safety init")
    assert not (case.home / "safety" / "votes").exists()


def test_the_safety_store_of_another_validator(case: Case) -> None:
    shutil.copy(case.folders.homes[1] / "safety" / "votes", case.home / "safety" / "votes")
    case.refused("another chain or validator key")


def test_a_damaged_safety_store(case: Case) -> None:
    votes = case.home / "safety" / "votes"
    flip(votes, 20)
    case.refused("safety store")
    votes.write_bytes(b"")
    case.refused("safety store")


def test_init_makes_no_new_safety_store_for_a_key_that_may_have_voted(case: Case) -> None:
    shutil.rmtree(case.home / "chain")
    shutil.rmtree(case.home / "safety")
    genesis = case.folders.genesis_file
    code, error = case.run("init", "--home", str(case.home), "--genesis", str(genesis))
    assert code == 0, error
    case.refused("safety store is missing")


def test_init_over_a_chain(case: Case) -> None:
    genesis = case.folders.genesis_file
    code, error = case.run("init", "--home", str(case.home), "--genesis", str(genesis))
    assert code == 1
    assert "there is a chain already" in error


def test_init_with_a_genesis_that_is_none_leaves_nothing(case: Case, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    code, error = case.run("init", "--home", str(tmp_path / "new"), "--genesis", str(tmp_path / "bad.json"))
    assert code == 1
    assert error.startswith("error: ")
    assert not (tmp_path / "new").exists()


def test_an_interrupted_init_is_finished_by_another(made: Folders, tmp_path: Path) -> None:
    """Whatever of a node's folder is there already, the rest is made, and the keys stay."""
    home = tmp_path / "node"
    make_folder(home, made.genesis_file, {})
    identity = (home / "keys" / "identity.secret").read_bytes()
    shutil.rmtree(home / "chain")
    (home / "genesis.json").unlink()
    make_folder(home, made.genesis_file, {})
    assert (home / "keys" / "identity.secret").read_bytes() == identity
    Chain.open(home / "chain", Genesis.load(home / "genesis.json")).close()


@pytest.mark.parametrize(
    ("setting", "value", "word"),
    [
        ("p2p-bootstrap", "localhost", "host:port"),
        ("p2p-bootstrap", "127.0.0.1:99999", "65535"),
        ("sync-checkpoint", "abc", "height:hash"),
        ("worker-engine", "cuda", "dask://HOST:PORT"),
        ("content-remote", "bucket", "s3://bucket/folder"),
        ("rpc-origins", "example.org", "https://example.org"),
        ("rpc-hosts", "https://example.org", "names alone"),
        ("rpc-listen", "127.0.0.1:\u00b2", "HOST:PORT"),
        ("storage-mode", "prun", "archive, prune"),
    ],
)
def test_init_refuses_a_wrong_setting_and_leaves_nothing(
    case: Case, tmp_path: Path, setting: str, value: str, word: str
) -> None:
    """Otherwise the file would keep the wrong value, and the next attempt with the right one would not write it."""
    genesis, home = str(case.folders.genesis_file), tmp_path / "new"
    code, error = case.run("init", "--home", str(home), "--genesis", genesis, f"--{setting}", value)
    assert (code, len(error.strip().splitlines())) == (1, 1), error
    assert word in error
    assert f"--{setting}" in error
    assert not home.exists()


def test_init_over_a_configuration_says_that_flags_are_not_written(case: Case, tmp_path: Path) -> None:
    home, genesis = tmp_path / "new", str(case.folders.genesis_file)
    home.mkdir()
    (home / "config.toml").write_text("[storage]\nmode = 'archive'\n[p2p]\npeers_max = 9\n")
    line = ("init", "--home", str(home), "--genesis", genesis, "--p2p-peers-max", "9", "--storage-mode")
    code, error = case.run(*line, "prune")
    assert code == 1
    assert "says otherwise of storage.mode" in error
    assert sorted(path.name for path in home.iterdir()) == ["config.toml"]
    assert case.run(*line, "archive")[0] == 0, "what the file says already may be said again"


def test_content_in_place_of_a_folder(case: Case) -> None:
    shutil.rmtree(case.home / "content", ignore_errors=True)
    (case.home / "content").write_text("a file")
    case.refused("content")


def test_a_damaged_address_book(case: Case) -> None:
    (case.home / "peers.json").write_text("{nonsense")
    case.refused("peers.json")


@pytest.mark.parametrize("setting", ["rpc-listen", "p2p-listen"])
def test_a_port_that_is_taken(case: Case, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        case.refused(str(port), arguments=(f"--{setting}", f"127.0.0.1:{port}"))
    node_at(case.home).application.chain.close()


def test_an_address_that_is_not_ours(case: Case) -> None:
    case.refused("192.0.2.1", arguments=("--rpc-listen", "192.0.2.1:9644"))
    case.refused("192.0.2.1", arguments=("--p2p-listen", "192.0.2.1:9645"))


def test_what_fails_leaves_nothing_locked(case: Case) -> None:
    (case.home / "peers.json").write_text("{nonsense")
    case.refused("peers.json")
    (case.home / "peers.json").unlink()
    node: Node = node_at(case.home)
    node.application.chain.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("content-quota-mib", "0"),
        ("content-quota-mib", "9" * 40),
        ("content-upload-hours", "9" * 400),
        ("p2p-peers-max", "9" * 40),
        ("p2p-bootstrap", "127.0.0.1:0"),
        ("p2p-bootstrap", "nobody@127.0.0.1:1"),
        ("rpc-listen", "127.0.0.1:99999"),
        ("rpc-listen", "\u0661\u0662:1"),
        ("rpc-listen", "no such host:1"),
        ("p2p-listen", "x" * 300 + ":1"),
        ("rpc-hosts", "\x00"),
        ("logs-level", "loud"),
        ("validator-enabled", "perhaps"),
    ],
)
def test_settings_at_their_edges(
    case: Case, setting: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value is refused in one line, or it works: the node starts and is stopped at once."""

    async def stop_at_once(self: Node) -> None:
        await starts(self)
        self.failure = ProtocolError("it has started")
        self.failed.set()

    starts = Node.start
    monkeypatch.setattr(Node, "start", stop_at_once)
    case.refused(
        arguments=("--p2p-listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0", f"--{setting}", value)
    )


def test_keys_are_shown_and_never_overwritten(case: Case, tmp_path: Path) -> None:
    assert case.run("keys", "show", "--home", str(case.home))[0] == 0
    code, error = case.run("keys", "create", "--home", str(case.home))
    assert (code, error.splitlines()[0][:7]) == (1, "error: ")
    code, error = case.run("keys", "show", "--home", str(tmp_path / "nowhere"))
    assert (code, len(error.strip().splitlines())) == (1, 1)
