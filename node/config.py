"""Configuration of a node: one table of settings, each a TOML key, a flag and an environment variable.

Reads files; starts nothing.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from omnitensor.protocol import limits
from omnitensor.protocol.amounts import whole_number
from omnitensor.protocol.errors import ProtocolError

ENVIRONMENT_PREFIX: Final = "OMNITENSOR_NODE_"
CONFIG_FILE: Final = "config.toml"
CONFIG_BYTES_MAX: Final = 256 * 1024


class ConfigError(ProtocolError):
    """A setting that is unknown, of the wrong kind or out of range."""

    code = "config"


@dataclass(frozen=True)
class Endpoint:
    """A host and a port, as ``127.0.0.1:9644`` or ``[::1]:9644``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


def parse_endpoint(value: object) -> Endpoint:
    host, separator, port = str(value).rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or int(port) > 65_535 or not host:
        raise ValueError("write it as HOST:PORT, for instance 127.0.0.1:9644")
    return Endpoint(host.removeprefix("[").removesuffix("]"), int(port))


def parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("it must be text")
    return value


def parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "yes", "1", "on"):
        return True
    if str(value).lower() in ("false", "no", "0", "off"):
        return False
    raise ValueError("it must be true or false")


def parse_count(value: object) -> int:
    number = None if isinstance(value, bool) else whole_number(str(value).replace("_", ""))
    if number is None:
        raise ValueError("it must be a whole number, not negative")
    return number


def parse_texts(value: object) -> tuple[str, ...]:
    """A TOML array, or text with commas from a flag or the environment."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ValueError("it must be a list of texts")


def parse_peers(value: object) -> tuple[str, ...]:
    from p2p.config import parse_seed

    peers = parse_texts(value)
    for peer in peers:
        _refused_as_value(parse_seed, peer)
    return peers


def parse_checkpoint(value: object) -> str:
    from node import trust

    text = parse_text(value)
    _refused_as_value(trust.parse_checkpoint, text)
    return text


def _refused_as_value(parse: Callable[[str], object], text: str) -> None:
    """Raises ValueError with what to do where another room's reader refuses the text."""
    try:
        parse(text)
    except ProtocolError as error:
        raise ValueError(f"{error.reason}: {text}; {error.remedy}" if error.remedy else str(error)) from error


def parse_pattern(pattern: str, remedy: str) -> Callable[[object], str]:
    """Text of a form; empty text, which is the default of such settings, is taken."""

    def parse(value: object) -> str:
        text = parse_text(value)
        if text and not re.fullmatch(pattern, text):
            raise ValueError(remedy)
        return text

    return parse


def parse_each(parse: Callable[[object], str]) -> Callable[[object], tuple[str, ...]]:
    def parse_all(value: object) -> tuple[str, ...]:
        return tuple(parse(part) for part in parse_texts(value))

    return parse_all


def parse_choice(*choices: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in choices:
            raise ValueError(f"it must be one of {', '.join(choices)}")
        return str(value)

    return parse


@dataclass(frozen=True)
class Setting:
    """One option: its place in the TOML file (``section.key``), how it is read, its default and what it is for."""

    name: str
    parse: Callable[[object], Any]
    default: object
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.name.replace(".", "-").replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.replace(".", "_").upper()

    @property
    def attribute(self) -> str:
        return self.name.replace(".", "_")


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("node.name", parse_text, "", "Name shown to peers and in logs (default: the data folder's name)"),
    Setting(
        "rpc.listen", parse_endpoint, "127.0.0.1:9644", "Address of JSON-RPC, WebSocket, uploads and metrics"
    ),
    Setting(
        "rpc.hosts",
        parse_each(
            parse_pattern(r"[^/:\s]+", "write names alone, like node.example.org, without scheme or port")
        ),
        (),
        "Host names besides loopback that requests may name in their Host header",
    ),
    Setting(
        "rpc.origins",
        parse_each(parse_pattern(r"https?://[^/\s]+", "write them like https://example.org, without a path")),
        (),
        "Web origins that may call from a browser (CORS); none by default",
    ),
    Setting(
        "rpc.calls_per_second",
        parse_count,
        limits.rpc_calls_per_second_max,
        "Calls a second of one client, each of a batch counted; 0 for as many as it likes",
    ),
    Setting("p2p.listen", parse_endpoint, "0.0.0.0:9645", "Address that peers connect to"),
    Setting("p2p.bootstrap", parse_peers, (), "Peers to dial first, as HOST:PORT"),
    Setting("p2p.peers_max", parse_count, 64, "Connections with peers at the most"),
    Setting("p2p.peers_per_address_max", parse_count, 8, "Connections from one network address at the most"),
    Setting(
        "validator.enabled", parse_bool, True, "Vote when this node's consensus key is in the validator table"
    ),
    Setting(
        "evidence.reporter_key_file",
        parse_text,
        "",
        "File (mode 0600) with a session key of the scope report, with which the node submits evidence; none by default",
    ),
    Setting(
        "work.judge_key_file",
        parse_text,
        "",
        "File (mode 0600) with a session key of the scope work, with which a validator judges work; none by default",
    ),
    Setting(
        "worker.key_file",
        parse_text,
        "",
        "File (mode 0600) with the key of an account that works: its own, or a session key of the scope work",
    ),
    Setting("worker.bond", parse_count, 0, "Bond in OMNIT of a worker that registers; 0 for the least"),
    Setting(
        "worker.engine",
        parse_pattern(r"auto|processes|gpu|dask://.+", "it must be auto, processes, gpu or dask://HOST:PORT"),
        "auto",
        "What computes a worker's units: processes, gpu, dask://HOST:PORT, or auto for a GPU where there is one",
    ),
    Setting("worker.processes", parse_count, 0, "Processes that compute; 0 for one less than the processors"),
    Setting(
        "storage.mode",
        parse_choice("archive", "prune"),
        "archive",
        "archive keeps every block; prune removes old ones with their receipts and histories",
    ),
    Setting(
        "storage.keep_blocks",
        parse_count,
        0,
        "Blocks that a node that prunes keeps below its head; 0 for the least that others need (two weeks of them)",
    ),
    Setting(
        "snapshots.every", parse_count, 6, "A snapshot of the state at every so many boundaries; 0 for none"
    ),
    Setting("snapshots.keep", parse_count, 2, "Snapshots that are kept, the newest"),
    Setting(
        "sync.snapshot",
        parse_bool,
        False,
        "Begin an empty chain with the newest snapshot that peers give, instead of with every block",
    ),
    Setting(
        "sync.checkpoint",
        parse_checkpoint,
        "",
        "Final block of an epoch's end, as height:hash, that a snapshot is believed from; genesis without one",
    ),
    Setting("content.quota_mib", parse_count, 20_480, "Space for contributed content, in MiB"),
    Setting(
        "content.upload_hours",
        parse_count,
        24,
        "Hours after which an upload that nothing refers to is dropped",
    ),
    Setting(
        "content.keep_days",
        parse_count,
        90,
        "Days for which accepted data are kept after the end of their campaign; 0 for good",
    ),
    Setting(
        "content.remote",
        parse_pattern(r"[a-z0-9+]+://.+", "write it like s3://bucket/folder"),
        "",
        "Object store that accepted data go to besides, as s3://bucket/folder or another URL of fsspec; none by default",
    ),
    Setting(
        "logs.level", parse_choice("debug", "info", "warning", "error"), "info", "Least level that is logged"
    ),
    Setting("logs.format", parse_choice("json", "text"), "json", "Format of log lines on standard error"),
)


@dataclass(frozen=True)
class Config:
    """Everything a node is told. Paths below ``home`` are fixed, so that one folder is one node."""

    home: Path
    node_name: str
    rpc_listen: Endpoint
    rpc_hosts: tuple[str, ...]
    rpc_origins: tuple[str, ...]
    rpc_calls_per_second: int
    p2p_listen: Endpoint
    p2p_bootstrap: tuple[str, ...]
    p2p_peers_max: int
    p2p_peers_per_address_max: int
    validator_enabled: bool
    evidence_reporter_key_file: str
    work_judge_key_file: str
    worker_key_file: str
    worker_bond: int
    worker_engine: str
    worker_processes: int
    storage_mode: str
    storage_keep_blocks: int
    snapshots_every: int
    snapshots_keep: int
    sync_snapshot: bool
    sync_checkpoint: str
    content_quota_mib: int
    content_upload_hours: int
    content_keep_days: int
    content_remote: str
    logs_level: str
    logs_format: str

    @property
    def genesis_path(self) -> Path:
        return self.home / "genesis.json"

    @property
    def chain_path(self) -> Path:
        return self.home / "chain"

    @property
    def snapshots_path(self) -> Path:
        return self.home / "snapshots"

    @property
    def safety_path(self) -> Path:
        return self.home / "safety"

    @property
    def content_path(self) -> Path:
        return self.home / "content"

    @property
    def disputes_path(self) -> Path:
        return self.home / "disputes"

    @property
    def evidence_path(self) -> Path:
        return self.home / "evidence.bin"

    @property
    def keys_path(self) -> Path:
        return self.home / "keys"


@dataclass
class Sources:
    """Where settings come from, strongest first: flags, environment, file, default."""

    flags: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def load(home: Path, sources: Sources | None = None) -> Config:
    """Configuration of the node in ``home``. Raises ConfigError naming the setting, its value and where it came from."""
    sources = sources or Sources()
    in_file = read_file(home / CONFIG_FILE)
    known = {setting.variable for setting in SETTINGS} | {ENVIRONMENT_PREFIX + "HOME"}
    for variable in sources.environment:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in known:
            raise ConfigError(
                "unknown environment variable", value=variable, remedy="see omnitensor-node start --help"
            )
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given, origin = setting.default, "default"
        if setting.name in in_file:
            given, origin = in_file[setting.name], CONFIG_FILE
        if setting.variable in sources.environment:
            given, origin = sources.environment[setting.variable], setting.variable
        if sources.flags.get(setting.name) is not None:
            given, origin = sources.flags[setting.name], setting.flag
        try:
            values[setting.attribute] = setting.parse(given)
        except ValueError as error:
            raise ConfigError(
                f"{setting.name} (from {origin}) can't be used", value=given, remedy=str(error)
            ) from error
    values["node_name"] = values["node_name"] or home.resolve().name
    return Config(home=home, **values)


def read_file(path: Path) -> dict[str, object]:
    """Settings in a TOML file by their full names; an absent file has none."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    if len(raw) > CONFIG_BYTES_MAX:
        raise ConfigError(
            f"{path} is too large", value=f"{len(raw)} bytes", remedy=f"at most {CONFIG_BYTES_MAX} bytes"
        )
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also of a number that is too long to read
        raise ConfigError(f"{path} is not TOML", value=error, remedy="correct that line") from error
    known = {setting.name for setting in SETTINGS}
    found: dict[str, object] = {}
    for section, entries in document.items():
        for key, value in entries.items() if isinstance(entries, dict) else [("", entries)]:
            name = f"{section}.{key}" if key else section
            if name not in known:
                raise ConfigError(f"unknown setting in {path}", value=name, remedy=_meant(name, known))
            found[name] = value
    return found


def _meant(name: str, known: set[str]) -> str:
    """The settings that may have been meant; all where none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=2, cutoff=0.8)
    return f"write {' or '.join(near)}" if near else f"known are {', '.join(sorted(known))}"


def write_file(path: Path, values: Mapping[str, object]) -> None:
    """A configuration file with every setting: those in ``values``, and the others as comments with their defaults."""
    lines = ["# Configuration of an OmniTensor node. A line behind # shows the default."]
    section = ""
    for setting in SETTINGS:
        if setting.name.split(".")[0] != section:
            section = setting.name.split(".")[0]
            lines += ["", f"[{section}]"]
        key = setting.name.split(".")[1]
        given = setting.name in values
        lines.append(f"# {setting.help}. Flag {setting.flag}, variable {setting.variable}.")
        lines.append(f"{'' if given else '# '}{key} = {_toml(values.get(setting.name, setting.default))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(part) for part in value) + "]"
    return '"' + "".join(_TOML_ESCAPES.get(char) or _toml_char(char) for char in str(value)) + '"'


_TOML_ESCAPES: Final = {"\\": "\\\\", '"': '\\"'}


def _toml_char(char: str) -> str:
    return f"\\u{ord(char):04X}" if ord(char) < 32 or ord(char) == 127 else char
