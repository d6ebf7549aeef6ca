"""The limit of open files: raised at start as far as it is needed, and a start refused that it would not be enough for."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from node import config as configuration
from node import file_limit
from node.config import Config
from omnitensor.protocol import limits
from tests.node.node_kit import Folders, make_folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return make_folders(tmp_path, validators=1)


def configured(folders: Folders, **flags: object) -> Config:
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return configuration.load(folders.homes[0], configuration.Sources(flags=given, environment={}))


def limited(soft: int, hard: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs Python where no more files may be open."""
    line = f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"'
    return subprocess.run(
        ["bash", "-c", line, "limited", sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


RAISES = """
import resource, sys
from pathlib import Path
from node import config, file_limit
loaded = config.load(Path(sys.argv[1]), config.Sources(environment={}))
file_limit.provide(loaded)
print(*resource.getrlimit(resource.RLIMIT_NOFILE), file_limit.files_needed(loaded))
"""


def test_the_soft_limit_is_raised_as_far_as_needed(folders: Folders) -> None:
    found = limited(256, 4_096, "-c", RAISES, str(folders.homes[0]))
    soft, hard, needed = map(int, found.stdout.split()[-3:])
    assert soft == needed, found.stderr
    assert hard == 4_096


def test_a_soft_limit_that_is_enough_is_left_alone(folders: Folders) -> None:
    found = limited(4_000, 4_096, "-c", RAISES, str(folders.homes[0]))
    assert found.stdout.split()[-3:-1] == ["4000", "4096"], found.stderr


def test_a_node_does_not_start_where_it_may_open_too_few_files(folders: Folders) -> None:
    """It would run until a crowd of strangers leaves no file for the database."""
    found = limited(256, 512, "-m", "node.cli", "start", "--home", str(folders.homes[0]))
    assert found.returncode == 1, found.stderr
    (line,) = found.stderr.strip().splitlines()
    needed = file_limit.files_needed(configured(folders))
    assert line.startswith("error: this process may open too few files")
    assert f"512, and {needed} may be needed" in line
    assert f"LimitNOFILE={needed}" in line


def test_every_peer_and_client_counts(folders: Folders) -> None:
    few, many = configured(folders), configured(folders, p2p__peers_max=1_064)
    assert file_limit.files_needed(many) == file_limit.files_needed(few) + 1_000
    assert file_limit.files_needed(few) > 2 * limits.rpc_connections_max + limits.database_files_max
    named = configured(folders, p2p__bootstrap=("a.example:9645", "b.example:9645"))
    assert file_limit.files_needed(named) == file_limit.files_needed(few) + 2
    key = configured(folders, worker__key_file="key", worker__processes=4)
    assert file_limit.files_needed(key) > file_limit.files_needed(few)


def test_what_the_system_does_not_limit_is_enough(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("nothing is to be changed"))
    file_limit.provide(configured(folders))


def test_a_limit_below_the_one_that_the_system_names_is_told_as_one(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS says that there is none, and has one."""

    def refuses(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuses)
    with pytest.raises(file_limit.FilesError, match="256, and") as caught:
        file_limit.provide(configured(folders))
    assert caught.value.remedy
