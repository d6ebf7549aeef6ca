"""A file of gigabytes through the whole net: up, killed and resumed at both ends, to the reviewers, and down from another node.

All processes are real, and each stays below 300 MB whatever the file's size. `LARGE_FILE` says the size (`make bigfile SIZE=2G`);
the suite takes a smaller one, so that it takes seconds.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from datalayer.upload import EMPTY_SLOT, SLOT_BYTES
from deploy.devnet import calls, cast, process
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.people import Person
from deploy.devnet.process import Program
from omnitensor.protocol.limits import MIB, chunk_bytes
from omnitensor.protocol.types import NANO
from tests.e2e.peaks import Peaks

UNITS: Final = {"M": MIB, "G": 1024 * MIB}
SIZE: Final = (lambda text: int(text[:-1]) * UNITS[text[-1]])(os.environ.get("LARGE_FILE") or "48M")
CHUNKS: Final = SIZE // chunk_bytes
PATIENCE_S: Final = 900 + SIZE // MIB
"""Long enough for a loaded machine; nothing waits so long by itself."""
MEMORY_MAX: Final = 300 * 10**6
"""Bytes of resident memory that no process ever takes."""
IN_FLIGHT_CHUNKS_MAX: Final = 8
"""Chunks on the wire, or taken and not written down yet, when a process dies."""

PLAN: Final = Plan(
    chain_id="omnitensor-large",
    balances={"sponsor": 20_000 * NANO, "contributor": 200 * NANO},
    # Windows end when everybody has done their part: long ones cost nothing, and bytes of gigabytes take their time.
    params={
        "report_commit_blocks": 7_200,
        "report_reveal_blocks": 7_200,
        "seat_accept_blocks": 7_200,
        "challenge_blocks": 4,
        # So that a light client that trusts the genesis can still begin there an hour later.
        "evidence_epochs": 200,
        "unbonding_blocks": 7_200,
    },
    settings={"content-quota-mib": str(3 * SIZE // MIB + 64)},
)
CAMPAIGN: Final = {
    "title": "Field recordings",
    "media": ["audio/wav"],
    "preset": "economy",
    "first_seats": 3,
    "second_seats": 0,
    "audit_bps": 0,
    "unit_price": "4",
    "review_fee": "0.5",
    "item_bond": "0.2",
    "budget": "400",
    "item_bytes_max": 4 * 1024 * MIB,
    "instructions": "Uncompressed recordings, whole.",
}

pytestmark = [pytest.mark.timeout(4 * PATIENCE_S), pytest.mark.xdist_group("e2e-large")]


def write_recording(path: Path, size: int) -> str:
    """A WAV file of noise, to its last byte not to be foretold, with no hole in it; its SHA-256."""
    chance, digest, left = random.Random(7), hashlib.sha256(), size - 44
    head = (
        b"RIFF"
        + struct.pack("<I", size - 8)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 2, 48_000, 192_000, 4, 16)
    )
    with path.open("wb") as file:
        for part in (head + b"data" + struct.pack("<I", left),):
            file.write(part)
            digest.update(part)
        while left:
            part = chance.randbytes(min(left, MIB))
            file.write(part)
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass
class Scene:
    """The net, the file, and who has to do with it."""

    net: Net
    peaks: Peaks
    folder: Path
    file: Path
    sha256: str
    random: random.Random
    people: dict[str, Person] = field(default_factory=dict)
    reviewers: list[Program] = field(default_factory=list)
    campaign: int = 0
    item: int = 0
    started: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> Node:
        return self.net.nodes[0]

    @property
    def last(self) -> Node:
        return self.net.nodes[-1]

    def command(self, name: str, person: Person, *arguments: str, gives_way: bool = False) -> Program:
        """A command line of `otensor-cli` that goes on beside the test, its memory watched."""
        line = [*(("nice", "-n", "5") if gives_way else ()), *process.command(process.CLI, *arguments)]
        program = Program(name, line, self.folder / f"{name.replace(' ', '-')}.log", person.variables)
        self.peaks.watch(program)
        program.start()
        return program

    def check(self) -> None:
        self.net.check()
        cast.check_reviewers(self.reviewers)

    def kill(self, program: Program) -> None:
        self.peaks.look()
        program.kill()

    def ends_well(self, program: Program) -> str:
        """Waits for a command's end; what it said."""

        def ended() -> bool:
            return program.exit_code is not None

        calls.until(f"{program.name} ends", ended, PATIENCE_S, every_s=0.25, on_wait=self.check)
        assert program.exit_code == 0, program.tail()
        return program.tail()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("large")
    seed = random.randrange(10**6)
    print(f"the moments of death are drawn from seed {seed}")
    file = folder / "recording.wav"
    sha256 = write_recording(file, SIZE)
    with Net.create(folder / "net", PLAN) as net, Peaks(net.nodes) as peaks:
        scene = Scene(net, peaks, folder, file, sha256, random.Random(seed))
        try:
            net.start()
            net.wait_ready()
            scene.people = {name: cast.log_in(net, name, scene.first) for name in PLAN.balances}
            campaign = folder / "campaign.toml"
            campaign.write_text(
                "".join(f"{key} = {json.dumps(value)}\n" for key, value in CAMPAIGN.items()), encoding="utf-8"
            )
            opened = scene.people["sponsor"].json("campaign", "open", "--from", str(campaign), "--yes")
            scene.campaign = int(opened["campaign"])
            yield scene
        finally:
            for reviewer in scene.reviewers:
                reviewer.kill()
            for node in net.nodes:
                print(f"--- {node.name}\n{node.tail(3_000)}")
            net.kill()
            shutil.rmtree(folder, ignore_errors=True)  # gigabytes, in several copies


def number_of(node: Node, metric: str) -> int:
    """A metric of a node, without labels."""
    found = re.search(rf"^omnitensor_{metric} ([0-9.e+]+)$", node.metrics(), re.MULTILINE)
    assert found is not None, metric
    return int(float(found[1]))


def stored_chunks(node: Node) -> int:
    """Chunks of the one upload under way that are on the node's disk."""
    found = 0
    for path in (node.home / "content" / "uploads").glob("*/progress"):
        slots = path.read_bytes()
        found += sum(slots[at : at + SLOT_BYTES] != EMPTY_SLOT for at in range(0, len(slots), SLOT_BYTES))
    return found


def upload(scene: Scene, name: str) -> Program:
    """It gives way to the test, which has to catch it half way."""
    return scene.command(
        name,
        scene.people["contributor"],
        *("upload-data", "--task-id", str(scene.campaign), "--file", str(scene.file)),
        gives_way=True,
    )


def stop_at(scene: Scene, chunks: int, client: Program) -> None:
    """Holds a client as soon as so many chunks are stored, so that it does not get to its end while it is looked at."""

    def there() -> bool:
        assert client.running, client.tail()
        return stored_chunks(scene.first) >= chunks

    calls.until(f"{chunks} chunks are stored", there, PATIENCE_S, every_s=0.005, on_wait=scene.net.check)
    client.signal(signal.SIGSTOP)


def test_the_client_is_killed_and_the_node_is_killed_and_the_upload_goes_on(scene: Scene) -> None:
    scene.started["upload"] = time.monotonic()
    client = upload(scene, "upload until it is killed")
    stop_at(scene, round(CHUNKS * scene.random.uniform(0.1, 0.4)), client)
    scene.kill(client)
    # What the dead client had sent may still be on its way to the disk.
    before = calls.until("what was sent is stored", lambda: settled(scene), PATIENCE_S)
    assert before * chunk_bytes <= number_of(scene.first, "content_received_bytes") < SIZE

    client = upload(scene, "upload that outlives its node")
    stop_at(scene, before + round((CHUNKS - before) * scene.random.uniform(0.1, 0.6)), client)
    received = number_of(scene.first, "content_received_bytes")
    stored = stored_chunks(scene.first)
    assert received <= (stored + IN_FLIGHT_CHUNKS_MAX) * chunk_bytes, "chunks were sent that were there"
    scene.peaks.look()
    client.signal(signal.SIGCONT)
    calls.until("more of it comes", lambda: stored_chunks(scene.first) != stored, PATIENCE_S, every_s=0.005)
    scene.first.kill()
    stored = stored_chunks(scene.first)
    assert before < stored < CHUNKS
    scene.first.start()
    said = scene.ends_well(client)
    assert "1 item submitted" in said
    assert (
        number_of(scene.first, "content_received_bytes")
        <= (CHUNKS - stored + IN_FLIGHT_CHUNKS_MAX) * chunk_bytes
    )
    assert number_of(scene.first, "content_received_bytes") >= (CHUNKS - stored) * chunk_bytes
    scene.started["uploaded"] = time.monotonic()
    (found,) = scene.first.call("item.list", campaign=scene.campaign, limit=10)["items"]
    assert found["content"]["sha256"] == scene.sha256
    scene.item = int(found["item"])


def settled(scene: Scene) -> int:
    """Chunks stored, once no more come; 0 until then."""
    seen = stored_chunks(scene.first)
    time.sleep(1)
    return seen if stored_chunks(scene.first) == seen else 0


def test_reviewers_get_it_from_their_own_nodes_and_accept_it(scene: Scene) -> None:
    with ThreadPoolExecutor(4) as threads:
        keys = list(threads.map(lambda node: cast.make_api_key(scene.net, node), scene.net.nodes))
    for node, key in zip(scene.net.nodes, keys, strict=True):
        person = Person(f"reviewer of {node.name}", scene.folder / "reviewers" / node.name, node.endpoint)
        scene.reviewers.append(
            scene.command(person.name, person, "review", "run", "--auto", "--api-key-file", str(key))
        )

    def paid() -> bool:
        found = scene.last.call("item.get", item=scene.item)
        assert found["status"] not in ("rejected", "undecided"), found
        return bool(found["status"] == "paid")

    calls.until("it is accepted and paid", paid, PATIENCE_S, every_s=0.5, on_wait=scene.check)
    seats = scene.last.call(
        "review.batch", batch=scene.last.call("item.get", item=scene.item)["batch"], round=1
    )["seats"]
    assert [seat["state"] for seat in seats] == ["revealed"] * 3
    for reviewer in scene.reviewers:
        scene.kill(reviewer)
    scene.reviewers.clear()
    scene.started["paid"] = time.monotonic()


def size_of(path: Path, absent: int) -> int:
    """Bytes of a file, or ``absent`` where there is none: it may be given its own name at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return absent


def test_it_comes_down_from_every_other_node(scene: Scene) -> None:
    """Somebody who was killed half way goes on; the node they ask has it from its peers."""
    for node in scene.net.nodes[1:]:
        person = Person("reader", scene.folder / "reader" / node.name, node.endpoint)
        target = scene.folder / "down" / node.name / "recording.wav"
        target.parent.mkdir(parents=True)
        line = ("download-data", "--item", str(scene.item), "--to", str(target))
        part = target.with_name(target.name + ".part")
        wanted = round(SIZE * scene.random.uniform(0.1, 0.8))

        client = scene.command(f"download from {node.name} until it is killed", person, *line)
        calls.until(
            "some of it is here",
            lambda client=client, part=part, wanted=wanted, target=target: (
                target.exists() or size_of(part, 0) >= wanted
            ),
            PATIENCE_S,
            every_s=0.01,
            on_wait=scene.check,
        )
        scene.kill(client)
        kept = size_of(part, SIZE)
        again = scene.command(f"download from {node.name}", person, *line)
        while again.running:
            assert size_of(part, SIZE) >= kept or target.exists(), "it began anew"
            time.sleep(0.1)
        scene.ends_well(again)
        assert sha256_of(target) == scene.sha256
        target.unlink()
        fetched = number_of(node, "content_fetched_bytes_total")
        assert fetched == SIZE, f"{node.name} has it from its peers, each byte once"
    scene.started["down"] = time.monotonic()


def test_it_is_exported_from_two_nodes_and_holds_offline(scene: Scene) -> None:
    roots = set()
    for node in scene.net.nodes[1:3]:
        person = Person("sponsor", scene.people["sponsor"].folder, node.endpoint)
        target = scene.folder / "exports" / node.name
        target.parent.mkdir(exist_ok=True)
        exporter = scene.command(
            f"export from {node.name}",
            person,
            "--json",
            "dataset",
            "export",
            "--task-id",
            str(scene.campaign),
            "--to",
            str(target),
        )
        told = json.loads(scene.ends_well(exporter))
        roots.add(told["row_root"])
        # Nobody listens where it asks.
        alone = Person("offline", scene.folder / "offline", "http://127.0.0.1:1")
        verifier = scene.command(
            f"verification of {node.name}'s export",
            alone,
            "dataset",
            "verify",
            str(target),
            "--checkpoint",
            told["checkpoint"],
        )
        assert "every byte holds" in scene.ends_well(verifier)
        (big,) = (target / "files").iterdir()
        assert sha256_of(big) == scene.sha256
        place = scene.random.randrange(SIZE)
        with big.open("r+b") as file:
            file.seek(place)
            was = file.read(1)
            file.seek(place)
            file.write(bytes([was[0] ^ 1]))
        refused = alone.try_cli(
            "dataset", "verify", str(target), "--checkpoint", told["checkpoint"], timeout_s=PATIENCE_S
        )
        assert refused.returncode == 1, f"byte {place} was changed"
        assert big.name in refused.stderr
        big.unlink()
    assert len(roots) == 1


def test_no_process_took_more_than_300_megabytes(scene: Scene) -> None:
    peaks = scene.peaks.bytes()
    steps = list(scene.started.items())
    for (_, begun), (name, ended) in itertools.pairwise(steps):
        print(f"{name}: after {ended - begun:.0f} s")
    for name, peak in peaks.items():
        print(f"{peak / 1e6:6.1f} MB  {name}")
    assert len(peaks) > len(scene.net.nodes) + 8
    assert max(peaks.values()) < MEMORY_MAX, peaks
