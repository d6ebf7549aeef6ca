"""Makes a node's folder: keys, configuration, genesis, an empty chain, an empty safety store. Overwrites nothing.

What was interrupted half-way is finished by calling it again; the chain is made last, and its presence says that all is there.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from node import config as configuration
from node import keys as node_keys
from node.safety_files import DiskFiles
from node.safety_store import FILE_NAME, SafetyStore
from omnitensor.protocol.errors import StorageError
from state.chain import Chain
from state.genesis import Genesis


def make_folder(home: Path, genesis_file: Path, settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """Names and values for the operator to see. Raises a typed error where a chain is there already or the genesis is wrong."""
    genesis = Genesis.load(genesis_file)
    if (home / "chain").exists():
        raise StorageError(
            "there is a chain already", value=home / "chain", remedy="start it, or choose another --home"
        )
    config = configuration.load(
        home, configuration.Sources(flags=settings)
    )  # refuses before anything is made
    _check_kept(home, settings, config)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = node_keys.load(home / "keys") if (home / "keys").exists() else node_keys.create(home / "keys")
    if not (home / configuration.CONFIG_FILE).exists():
        configuration.write_file(home / configuration.CONFIG_FILE, settings)
    if genesis_file.resolve() != config.genesis_path.resolve():
        shutil.copyfile(genesis_file, config.genesis_path)
    safety = _make_safety_store(config, keys, genesis.chain_id)
    Chain.create(config.chain_path, genesis).close()
    return [
        ("chain", f"{genesis.chain_id}, genesis {genesis.hash.hex()}"),
        ("folder", str(home)),
        ("identity", keys.identity.public.hex()),
        ("consensus", keys.consensus_public.hex()),
        ("safety", safety),
    ]


def _check_kept(home: Path, settings: Mapping[str, object], config: configuration.Config) -> None:
    """A configuration that is there already is not overwritten: raises ConfigError where flags would say otherwise."""
    path = home / configuration.CONFIG_FILE
    if not path.exists():
        return
    kept = configuration.load(home, configuration.Sources(environment={}))
    for setting in configuration.SETTINGS:
        if setting.name in settings and getattr(kept, setting.attribute) != getattr(
            config, setting.attribute
        ):
            raise configuration.ConfigError(
                f"{path} is there already, and says otherwise of {setting.name}",
                value=settings[setting.name],
                remedy="write it there, or remove the file, and run init again",
            )


def _make_safety_store(config: configuration.Config, keys: node_keys.NodeKeys, chain_id: str) -> str:
    """An empty store, for a key that has never voted: for any other it would be a licence to vote twice (R9)."""
    mark = config.keys_path / node_keys.NEVER_VOTED
    if not (config.safety_path / FILE_NAME).exists():
        if not mark.exists():
            return "none: this key has voted before; copy its newest safety folder here before it votes again"
        SafetyStore.create(DiskFiles(config.safety_path), chain_id, keys.consensus_public).close()
    mark.unlink(missing_ok=True)
    return str(config.safety_path)
