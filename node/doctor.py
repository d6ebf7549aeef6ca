"""Looks at everything that a node's start and its months depend on, and says what is wrong and what to do. Changes nothing.

Each check stands alone, so that one fault hides no other. What mends things is in ``repairs``, and only an operator asks for it.
"""

import errno
import os
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from node import config as configuration
from node import file_limit
from node import keys as node_keys
from node.safety_store import FILE_NAME
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.limits import GIB, MIB
from omnitensor.protocol.types import BlsPublicKey
from p2p.config import parse_seed
from state import indexing
from state.chain import Chain
from state.genesis import Genesis
from state.ledger import worker_sets
from state.schema import TABLES
from state.snapshots import loading
from state.snapshots.chunks import read_chunk
from state.snapshots.files import SnapshotFile, heights_in, name_of
from state.snapshots.manifest import CHUNKS
from state.store import DamagedStoreError, LockedStoreError, Store

DISK_FREE_LEAST: Final = 256 * MIB
DISK_FREE_WANTED: Final = 4 * GIB
PARTS: Final = ("chain", "safety", "content", "snapshots", "keys")
"""Folders of a node that may lie on disks of their own."""
SAFETY_BEHIND_SECONDS: Final = 600
"""A safety store so much older than the chain beside it may be an old copy."""
BEHIND_SECONDS: Final = 3_600
CONNECT_SECONDS: Final = 3.0
SETTLE: Final = (
    "omnitensor-node doctor --replay makes it anew from its own blocks, --restore FILE from a snapshot, "
    "--refetch from peers; each keeps the damaged one beside it"
)

ELSEWHERE: Final = (
    "omnitensor-node doctor --restore FILE makes it anew from a snapshot, --refetch from peers; "
    "each keeps the damaged one beside it"
)


class Level(Enum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"
    """The node does not start, or would be wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found of one thing."""

    level: Level
    check: str
    what: str
    remedy: str = ""


@dataclass(slots=True)
class _Patient:
    """A node's folder, and what the checks before have learned of it."""

    home: Path
    deep: bool
    config: configuration.Config | None = None
    genesis: Genesis | None = None
    running: bool = False
    chain_changed: float | None = None
    key: BlsPublicKey | None = None
    votes: bool = False
    """Whether the chain's last block has this node's key vote or lead."""


def examine(home: Path, *, deep: bool = False) -> list[Finding]:
    """Every check in turn. ``deep`` reads every block, row and chunk, too."""
    patient, found = _Patient(home, deep), []
    for name, check in CHECKS:
        try:
            found += list(check(patient))
        except ProtocolError as error:
            found.append(Finding(Level.ERROR, name, _text(error), error.remedy))
        except OSError as error:
            what = f"{error.strerror or error}: {error.filename or home}"
            found.append(Finding(Level.ERROR, name, what, "check the path, its permissions and the disk"))
    return found


def _text(error: ProtocolError) -> str:
    return f"{error.reason}: {error.value}" if error.value else error.reason


def _good(check: str, what: str) -> Finding:
    return Finding(Level.GOOD, check, what)


def _config(patient: _Patient) -> Iterator[Finding]:
    patient.config = configuration.load(patient.home, configuration.Sources())
    if not (patient.home / configuration.CONFIG_FILE).exists():
        yield Finding(
            Level.WARNING,
            "config",
            f"there is no {configuration.CONFIG_FILE}, so every setting has its default",
            "init writes one in a new folder",
        )
        return
    yield _good("config", f"{configuration.CONFIG_FILE} can be read")


def _genesis(patient: _Patient) -> Iterator[Finding]:
    if patient.config is None:
        return
    patient.genesis = Genesis.load(patient.config.genesis_path)
    yield _good("genesis", f"{patient.genesis.chain_id}, {patient.genesis.hash.hex()}")


def _keys(patient: _Patient) -> Iterator[Finding]:
    if patient.config is None:
        return
    folder = patient.config.keys_path
    keys = node_keys.load(folder)
    patient.key = keys.consensus_public
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            Level.WARNING, "keys", f"others can look into {folder} (mode {mode:04o})", f"chmod 700 {folder}"
        )
    yield _good("keys", f"identity {keys.identity.public.hex()}, all files their owner's alone")


def _database(patient: _Patient) -> Iterator[Finding]:
    if patient.config is None:
        return
    path = patient.config.chain_path
    yield from _leftovers(path)
    if not path.exists():
        yield Finding(
            Level.ERROR,
            "database",
            f"there is none: {path}",
            "run init again in this folder, or snapshot import",
        )
        return
    patient.chain_changed = max((file.stat().st_mtime for file in path.iterdir()), default=None)
    try:
        chain = Chain.open(path, patient.genesis)
    except LockedStoreError:
        patient.running = True
        yield _good("database", "a node runs here and has it; stop it to have the database looked at")
        return
    except indexing.UnfinishedIndexesError as error:
        yield Finding(
            Level.ERROR, "database", _text(error), "omnitensor-node doctor --rebuild-indexes ends it"
        )
        return
    except DamagedStoreError as error:
        yield from _damage(path, _text(error))
        return
    except (
        ProtocolError
    ) as error:  # no room, no right to write, another chain: nothing that a new database would mend
        yield Finding(Level.ERROR, "database", _text(error), error.remedy)
        return
    try:
        yield from _whole(patient, chain)
    finally:
        chain.close()


def _whole(patient: _Patient, chain: Chain) -> Iterator[Finding]:
    """What is to be said of a database that opens."""
    reader = chain.reader()
    if patient.key is not None:
        patient.votes = worker_sets.may_lead_with(reader, chain.epoch, patient.key)
    yield _good("database", f"height {reader.head.height}, first block kept {reader.first_block}")
    behind_s = time.time() - reader.head.header.timestamp_ms / 1_000
    if behind_s < -_drift_s(chain):
        yield Finding(
            Level.ERROR,
            "clock",
            f"the last block is {-behind_s:.0f} s in the future of this machine's clock",
            "set the clock (a time service keeps it right): a validator with a wrong clock is not listened to",
        )
    elif behind_s > BEHIND_SECONDS and reader.head.height:
        yield Finding(
            Level.WARNING,
            "clock",
            f"the last block is {behind_s / 3_600:.1f} hours old",
            "start the node to catch up; where it runs already, see its peers, and this machine's clock",
        )
    else:
        yield _good("clock", "agrees with the last block")
    if not patient.deep:
        return
    try:
        chain.verify()
        yield _good("database", "every block, row and page was looked at")
    except ProtocolError as error:
        yield Finding(Level.ERROR, "database", _text(error), SETTLE)
    try:
        chain.verify_indexes()
        yield _good("indexes", "every one is what follows from the chain")
    except ProtocolError as error:
        yield Finding(
            Level.ERROR, "indexes", _text(error), "omnitensor-node doctor --rebuild-indexes makes them anew"
        )


def _drift_s(chain: Chain) -> float:
    """How far blocks may be ahead of an honest clock."""
    return chain.params.clock_drift_ms / 1_000 + 1


def _leftovers(path: Path) -> Iterator[Finding]:
    """What interrupted work has left beside the database."""
    if loading.made_path(path).exists() or loading.is_begun(loading.made_path(path)):
        yield Finding(
            Level.WARNING,
            "database",
            "the import of a snapshot, or a repair, was interrupted",
            "run the same command again (snapshot import, doctor --replay, --restore or --refetch), or remove what is left: "
            f"{loading.made_path(path)}, {loading.building_path(loading.made_path(path))}",
        )
    made = loading.made_path(path)
    for aside in sorted(found for kept in (path, made) for found in path.parent.glob(f"{kept.name}.aside-*")):
        what = "an earlier database" if aside.name.startswith(f"{path.name}.aside-") else "an unfinished one"
        yield Finding(
            Level.WARNING,
            "disk",
            f"{what} is kept: {aside}",
            "remove it once you are sure that nobody needs it",
        )


def _damage(path: Path, refusal: str) -> Iterator[Finding]:
    """What of a database that does not open can still be read, table by table."""
    try:
        store = Store.open(path)
    except DamagedStoreError:
        what = f"{refusal}; its files can't be read at all, so there is nothing to replay"
        yield Finding(Level.ERROR, "database", what, ELSEWHERE)
        return
    yield Finding(Level.ERROR, "database", refusal, SETTLE)
    try:
        for prefix, table in sorted(TABLES.items()):
            rows = 0
            try:
                for _ in store.scan(bytes([prefix]), bytes([prefix + 1])):
                    rows += 1
            except ProtocolError as error:
                yield Finding(
                    Level.ERROR,
                    "database",
                    f"{table.name}: damaged behind {rows} rows: {error.reason}",
                    SETTLE,
                )
    finally:
        store.close()


def _disk(patient: _Patient) -> Iterator[Finding]:
    """Each file system that a part of the folder lies on: parts may have been placed apart."""
    seen: set[int] = set()
    for place in (patient.home, *(patient.home / part for part in PARTS)):
        if not place.exists():
            continue
        if not os.access(place, os.W_OK) and (place == patient.home or os.access(patient.home, os.W_OK)):
            yield Finding(
                Level.ERROR,
                "disk",
                f"can't be written: {place}",
                "see who owns it, its permissions, and whether its disk is mounted for reading alone",
            )
        if place.stat().st_dev in seen:
            continue
        seen.add(place.stat().st_dev)
        yield _room(place, "" if place == patient.home else f": {place}")


def _room(place: Path, named: str) -> Finding:
    usage = shutil.disk_usage(place)
    free = f"{usage.free // MIB} MiB free of {usage.total // MIB}{named}"
    if usage.free < DISK_FREE_LEAST:
        return Finding(
            Level.ERROR, "disk", free, "make room: a node whose disk is full stops at the next block"
        )
    if usage.free < DISK_FREE_WANTED:
        return Finding(
            Level.WARNING,
            "disk",
            free,
            "make room, or let it need less: storage.mode = prune, content.quota_mib",
        )
    return _good("disk", free)


def _files(patient: _Patient) -> Iterator[Finding]:
    if patient.config is None:
        return
    found = file_limit.look(patient.config)
    if not found.fits:
        what = f"{found.hard} may be open (here; a service has limits of its own), and {found.needed} may be needed"
        yield Finding(Level.ERROR, "files", what, found.remedy)
        return
    may = "as many as it likes" if found.hard is None else str(found.hard)
    yield _good("files", f"{found.needed} may be needed; here it may open {may}")


def _safety(patient: _Patient) -> Iterator[Finding]:
    config = patient.config
    if config is None or not config.validator_enabled:
        return
    path = config.safety_path / FILE_NAME
    if not path.exists():
        yield Finding(
            Level.ERROR if patient.votes else Level.WARNING,
            "safety",
            "there is no safety store, so this node can't vote"
            + (": its key is one that votes, and it does not start" if patient.votes else ""),
            "restore the newest copy; where there is none, and no other process: omnitensor-node safety init",
        )
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(Level.WARNING, "safety", f"others can read it (mode {mode:04o})", f"chmod 600 {path}")
    behind = (patient.chain_changed or 0) - path.stat().st_mtime
    if behind > SAFETY_BEHIND_SECONDS:
        yield Finding(
            Level.WARNING,
            "safety",
            f"it was last written {behind / 3_600:.1f} hours before the chain",
            "right for a node that has not voted since; where it has, this may be an old copy: never start "
            "with one (omnitensor-node safety init instead)",
        )
        return
    yield _good("safety", "is there, and not older than the chain")


def _snapshots(patient: _Patient) -> Iterator[Finding]:
    config = patient.config
    if config is None:
        return
    folder = config.snapshots_path
    for height in heights_in(folder):
        path = folder / name_of(height)
        try:
            with SnapshotFile(path) as file:
                for index in range(CHUNKS) if patient.deep else ():
                    read_chunk(index, file.manifest.chunks[index], file.chunk(index))
        except ProtocolError as error:
            yield Finding(
                Level.WARNING,
                "snapshots",
                f"{path.name}: {_text(error)}",
                f"remove it; the node takes others: {path}",
            )
            continue
        yield _good("snapshots", f"{path.name} is whole" if patient.deep else f"{path.name} is there")


def _ports(patient: _Patient) -> Iterator[Finding]:
    config = patient.config
    if config is None or patient.running:
        return
    for name, endpoint in (("rpc.listen", config.rpc_listen), ("p2p.listen", config.p2p_listen)):
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((endpoint.host, endpoint.port))
            except OSError as error:
                taken = error.errno == errno.EADDRINUSE
                yield Finding(
                    Level.ERROR,
                    "ports",
                    f"{name} {endpoint}: {'another process listens there' if taken else error.strerror}",
                    f"stop what uses it, or set {name}",
                )
                continue
        yield _good("ports", f"{name} {endpoint} is free")


def _peers(patient: _Patient) -> Iterator[Finding]:
    config = patient.config
    if config is None:
        return
    if not config.p2p_bootstrap:
        yield Finding(
            Level.WARNING,
            "peers",
            "no peers to begin with are named",
            "set p2p.bootstrap, unless this is the first node of a chain",
        )
        return
    reached = 0
    for text in config.p2p_bootstrap:
        seed = parse_seed(text)
        try:
            socket.create_connection((seed.host, seed.port), CONNECT_SECONDS).close()
        except OSError as error:
            yield Finding(
                Level.WARNING,
                "peers",
                f"{text} can't be reached: {error.strerror or error}",
                "see whether it runs, and whether a firewall is between",
            )
            continue
        reached += 1
        yield _good("peers", f"{text} takes connections")
    if not reached:
        yield Finding(
            Level.ERROR,
            "peers",
            "none of the peers to begin with can be reached",
            "name others in p2p.bootstrap, and see whether this machine reaches the network",
        )


CHECKS: Final[tuple[tuple[str, Callable[[_Patient], Iterator[Finding]]], ...]] = (
    ("config", _config),
    ("genesis", _genesis),
    ("keys", _keys),
    ("database", _database),
    ("disk", _disk),
    ("files", _files),
    ("safety", _safety),
    ("snapshots", _snapshots),
    ("ports", _ports),
    ("peers", _peers),
)
