"""Nodes as processes: signals while they start and while they work, a full disk, a second process, and what their logs hold."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.devnet.ports import free_ports
from deploy.devnet.process import environment
from node import keys as node_keys
from node.safety_store import FILE_NAME
from omnitensor.protocol import keystore
from tests.node.node_kit import Folders, make_folders, transfer

SECONDS_MAX = 240.0
UNANSWERED = (OSError, http.client.HTTPException)
"""Nobody listens, or the answer broke off."""


class Process:
    """``omnitensor-node start`` with its output in a file."""

    def __init__(
        self,
        home: Path,
        *arguments: str,
        before: str = "",
        module: str = "node.cli",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """``before``: a shell command that sets limits for the process. ``extra`` is added to its environment."""
        self.rpc_port, p2p_port = free_ports(2)
        line = [
            *(sys.executable, "-m", module, "start", "--home", str(home)),
            *("--rpc-listen", f"127.0.0.1:{self.rpc_port}", "--p2p-listen", f"127.0.0.1:{p2p_port}"),
            *arguments,
        ]
        if before:
            line = ["/bin/bash", "-c", f'{before}; exec "$@"', "bash", *line]
        self.log = home.parent / f"{home.name}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment(extra)
            )

    def call(self, method: str, **params: object) -> dict[str, object]:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rpc_port}/", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as response:
            answer: dict[str, object] = json.load(response)
        return answer

    def height(self) -> int:
        try:
            status = self.call("chain.status")["result"]
        except UNANSWERED:
            return -1
        assert isinstance(status, dict)
        return int(status["height"])

    def until_height(self, height: int) -> None:
        self.until(f"height {height}", lambda: self.height() >= height)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS_MAX
        while not condition():
            assert self._process.poll() is None, self.text()[-2_000:]
            assert time.monotonic() < end, f"{what}\n{self.text()[-2_000:]}"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(SECONDS_MAX)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def errors(self) -> list[str]:
        """Lines that are not log records."""
        return [line for line in self.text().splitlines() if not line.startswith("{")]


@contextmanager
def started(home: Path, *arguments: str, before: str = "") -> Iterator[Process]:
    process = Process(home, *arguments, before=before)
    try:
        yield process
    finally:
        process.kill()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """A chain of one validator, which goes on by itself."""
    return make_folders(tmp_path, validators=1)


def secrets_in(folder: Path) -> Sequence[str]:
    """Everything in a keys folder that must not be seen elsewhere, as text."""
    password = (folder / node_keys.CONSENSUS_PASSWORD).read_text().strip()
    secret = keystore.decrypt_bls((folder / node_keys.CONSENSUS_KEYSTORE).read_bytes(), password)
    seed = (folder / node_keys.IDENTITY_SECRET).read_text().strip()
    return password, secret.hex(), seed, str(int.from_bytes(secret, "big"))


def assert_no_secrets(text: str, home: Path) -> None:
    for secret in secrets_in(home / "keys"):
        assert secret not in text


def test_a_busy_node_stops_in_order_and_keeps_its_secrets(folders: Folders) -> None:
    home = folders.homes[0]
    with started(home, "--logs-level", "debug") as node:
        node.until_height(2)
        with started(home) as second:
            assert second.wait() == 1
            [line] = second.errors()
            assert line.startswith("error: another process has the database open")
        busy = threading.Event()

        def load() -> None:
            nonce = 0
            while not busy.is_set():
                try:
                    node.call("tx.submit", tx=transfer("alice", nonce).encoded.hex())
                    nonce += 1
                except UNANSWERED:
                    return

        workers = [threading.Thread(target=load) for _ in range(3)]
        for worker in workers:
            worker.start()
        reached = node.height() + 3
        node.until_height(reached)
        node.signal(signal.SIGTERM)
        node.signal(signal.SIGTERM)
        assert node.wait() == 0, node.text()[-2_000:]
        busy.set()
        for worker in workers:
            worker.join()
        text = node.text()
        assert "Traceback" not in text
        assert "never retrieved" not in text
        assert "stopped" in text.splitlines()[-1]
        assert_no_secrets(text, home)
    with started(home, "--logs-level", "debug", "--logs-format", "text") as again:
        again.until_height(reached + 1)
        again.signal(signal.SIGINT)
        assert again.wait() == 0
        assert "Traceback" not in again.text()
        assert_no_secrets(again.text(), home)


def test_a_signal_while_it_starts(folders: Folders) -> None:
    """Whenever it comes, nothing is broken by it, and nothing is said that looks like a crash."""
    home = folders.homes[0]
    for delay in (0.3, 0.9, 1.5):
        with started(home) as node:
            time.sleep(delay)
            node.signal(signal.SIGTERM)
            assert node.wait() in (0, -signal.SIGTERM)
            assert "Traceback" not in node.text()
    with started(home) as node:
        node.until_height(1)


def test_a_full_disk_ends_the_node_with_one_line_and_it_resumes(folders: Folders) -> None:
    home = folders.homes[0]
    with started(home, before="ulimit -f 96") as node:
        assert node.wait() == 1
        lines = node.errors()
        assert len(lines) == 1, lines
        assert re.match(r"error: .*(room|space|disk)", lines[0]), lines
        assert "Traceback" not in node.text()
        reached = max((int(found) for found in re.findall(r'"height": (\d+)', node.text())), default=0)
        assert reached > 0, "it was the growth that filled the disk"
    with started(home) as again:
        again.until_height(reached + 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_the_log_alone_does_not_silence_a_validator(folders: Folders) -> None:
    with started(folders.homes[0], before="exec 2>/dev/full") as node:
        node.until_height(3)
        with urllib.request.urlopen(
            f"http://127.0.0.1:{node.rpc_port}/metrics", timeout=SECONDS_MAX
        ) as answer:
            text = answer.read().decode()
        [lost] = re.findall(r"^omnitensor_log_lines_lost_total ([0-9.]+)$", text, re.MULTILINE)
        assert float(lost) > 3
        node.signal(signal.SIGTERM)
        assert node.wait() == 0


def test_kill_9_and_the_safety_store_agree(folders: Folders) -> None:
    """Killed again and again at any moment, it goes on from what it has signed, and signs nothing twice."""
    home = folders.homes[0]
    height = 0
    for _ in range(2):
        with started(home) as node:
            node.until_height(height + 3)
            height = node.height()
            node.kill()
            assert (home / "safety" / FILE_NAME).stat().st_size > 0
            assert "halted" not in node.text()
    with started(home) as node:
        node.until_height(height + 1)
