"""Configuration: precedence of flag, variable and file; wrong values named with their origin; what is written is read back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import config
from node.config import SETTINGS, ConfigError, Endpoint, Sources, load, parse_endpoint, write_file


def sources(flags: dict[str, object] | None = None, environment: dict[str, str] | None = None) -> Sources:
    return Sources(flags=flags or {}, environment=environment or {})


def test_defaults_work_without_a_file(tmp_path: Path) -> None:
    found = load(tmp_path, sources())
    assert found.rpc_listen == Endpoint("127.0.0.1", 9644)
    assert found.node_name == tmp_path.name


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[rpc]\nlisten = '127.0.0.1:1'\n[logs]\nlevel = 'debug'\n")
    variable = {"OMNITENSOR_NODE_RPC_LISTEN": "127.0.0.1:2"}
    assert load(tmp_path, sources()).rpc_listen.port == 1
    assert load(tmp_path, sources(environment=variable)).rpc_listen.port == 2
    assert load(tmp_path, sources({"rpc.listen": "127.0.0.1:3"}, variable)).rpc_listen.port == 3
    assert load(tmp_path, sources(environment=variable)).logs_level == "debug"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[rpc]\nlisten = 9644\n", ("rpc.listen", "config.toml", "9644", "HOST:PORT")),
        ("[rpc]\nlissten = '127.0.0.1:1'\n", ("rpc.lissten", "rpc.listen")),
        ("[p2p]\npeers_max = -1\n", ("p2p.peers_max", "-1")),
        ("[logs]\nlevel = 'loud'\n", ("loud", "debug, info")),
        ("rpc = 3\n", ("rpc",)),
        ("[rpc\n", ("not TOML",)),
        ("[validator]\nenabled = 'perhaps'\n", ("perhaps", "true or false")),
    ],
)
def test_a_wrong_file_is_refused_naming_setting_and_value(
    tmp_path: Path, text: str, named: tuple[str, ...]
) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, sources())
    assert all(name in str(raised.value) for name in named), str(raised.value)


def test_a_misspelt_variable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="OMNITENSOR_NODE_RPC_LISTENS"):
        load(tmp_path, sources(environment={"OMNITENSOR_NODE_RPC_LISTENS": "x"}))
    load(tmp_path, sources(environment={"OMNITENSOR_HOME": "x", "PATH": "y"}))


def test_an_oversized_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("#" * (config.CONFIG_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="too large"):
        load(tmp_path, sources())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    values: dict[str, object] = {
        "node.name": 'a "quoted" \\ name \x1b[31m, \x7f and\nmore',
        "rpc.listen": "[::1]:80",
        "p2p.bootstrap": ("a:1", "b:2"),
        "validator.enabled": False,
        "p2p.peers_max": 3,
    }
    write_file(tmp_path / "config.toml", values)
    found = load(tmp_path, sources())
    assert found.node_name == values["node.name"]
    assert found.rpc_listen == Endpoint("::1", 80)
    assert found.p2p_bootstrap == ("a:1", "b:2")
    assert found.validator_enabled is False
    assert found.p2p_peers_max == 3


def test_a_written_file_names_every_setting(tmp_path: Path) -> None:
    write_file(tmp_path / "config.toml", {})
    text = (tmp_path / "config.toml").read_text()
    assert all(setting.flag in text and setting.variable in text for setting in SETTINGS)
    assert load(tmp_path, sources()).p2p_peers_max == 64


@given(st.text(max_size=30))
def test_an_endpoint_is_read_or_refused(text: str) -> None:
    try:
        found = parse_endpoint(text)
    except ValueError:
        return
    assert 0 <= found.port <= 65_535
    assert found.host
