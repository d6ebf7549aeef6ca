"""Command line of ``omnitensor-node``. Reads arguments and prints; others do the work."""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from node import cli_storage, logs
from node import config as configuration
from node import keys as node_keys
from node.version import version
from omnitensor.protocol.disk import is_full, make_room
from omnitensor.protocol.errors import ProtocolError

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
DEFAULT_HOME: Final = "~/.omnitensor-node"

Command = TypeVar("Command", bound=Callable[..., Any])


def main() -> None:
    """Entry point: a user's fault is one line on standard error and exit status 1, never a traceback."""
    try:
        commands(standalone_mode=False)
    except ProtocolError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(EXIT_REFUSED)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        reason = error.strerror or str(error)
        remedy = "check the path, its permissions and the disk's space"
        if is_full(error):
            remedy = (
                make_room(Path(os.fsdecode(error.filename))) if error.filename else "make room on its disk"
            )
        click.echo(f"error: {reason}{place} ({remedy})", err=True)
        sys.exit(EXIT_REFUSED)
    except click.exceptions.Abort:
        sys.exit(EXIT_REFUSED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: Path(DEFAULT_HOME).expanduser(),
    envvar=configuration.ENVIRONMENT_PREFIX + "HOME",
    show_default=DEFAULT_HOME,
    help="Folder of this node: configuration, keys, chain, content.",
)


def setting_options(command: Command) -> Command:
    """Every setting as a flag; the environment and the file are read by ``config.load``."""
    for setting in reversed(configuration.SETTINGS):
        command = click.option(
            setting.flag,
            setting.attribute,
            metavar="VALUE",
            default=None,
            help=f"{setting.help}  [default: {_shown(setting.default)}; variable {setting.variable}]",
        )(command)
    return command


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default) or "none"
    return str(default) if default != "" else "none"


def _given(options: dict[str, object]) -> dict[str, object]:
    """Settings that were given as flags, by name."""
    return {
        setting.name: options[setting.attribute]
        for setting in configuration.SETTINGS
        if options[setting.attribute] is not None
    }


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Runs a node of an OmniTensor chain: a full node, or a validator when its key is in the validator set."""


@commands.command()
@home_option
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The chain's genesis.json.",
)
@setting_options
def init(home: Path, genesis_file: Path, **options: object) -> None:
    """Makes a node's folder: keys (unless it has some), configuration and an empty chain. Overwrites nothing."""
    from node.setup import make_folder

    for name, value in make_folder(home, genesis_file, _given(options)):
        click.echo(f"{name:<11} {value}")
    click.echo(f"start it:   omnitensor-node start --home {home}")


@commands.command()
@home_option
@setting_options
def start(home: Path, **options: object) -> None:
    """Runs the node until it is interrupted. Stops cleanly on SIGTERM and Ctrl-C; resumes after a crash."""
    _existing(home)
    _run(configuration.load(home, configuration.Sources(flags=_given(options))))


@commands.command()
@home_option
@setting_options
def worker(home: Path, **options: object) -> None:
    """Runs a node that works: computes units of AI jobs, proves them, leads blocks by it, and is paid. No stake is needed.

    With the account's own key it registers itself, for a bond; the account needs the money for that and for fees.
    """
    _existing(home)
    config = configuration.load(home, configuration.Sources(flags=_given(options)))
    if not config.worker_key_file:
        raise click.UsageError(
            "a worker signs with a key: --worker-key-file FILE, with the key of its account or a session key"
            " of the scope work"
        )
    _run(config)


def _run(config: configuration.Config) -> None:
    """Until it is interrupted; ends this process."""
    from node.service import run

    logs.configure(config.logs_level, config.logs_format, config.node_name)
    try:
        import uvloop
    except ImportError:
        status = asyncio.run(run(config))
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            status = runner.run(run(config))
    sys.exit(status)


def _existing(home: Path) -> None:
    """Raises ConfigError where there is no node's folder."""
    if not home.is_dir():
        raise configuration.ConfigError(
            "there is no node here",
            value=home,
            remedy=f"make one with: omnitensor-node init --home {home} --genesis FILE",
        )


@commands.group("keys")
def keys_group() -> None:
    """Makes and shows a node's keys."""


@keys_group.command("create")
@home_option
def keys_create(home: Path) -> None:
    """Makes new keys in the node's folder, for its owner alone. Existing keys are kept."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _show_keys(node_keys.create(home / "keys"))


@keys_group.command("show")
@home_option
def keys_show(home: Path) -> None:
    """Prints the public keys, with the proof of possession that registering a validator needs, as JSON."""
    _show_keys(node_keys.load(home / "keys"))


def _show_keys(keys: node_keys.NodeKeys) -> None:
    public = keys.public()
    shown = {
        "consensus_key": public.consensus.hex(),
        "proof_of_possession": public.proof_of_possession.hex(),
        "identity": public.identity.hex(),
    }
    click.echo(json.dumps(shown, indent=2))


@commands.group("safety")
def safety_group() -> None:
    """Moves and mends the record of what this validator has signed. Stop the node first."""


@safety_group.command("init")
@home_option
def safety_init(home: Path) -> None:
    """Makes a new record where the old one is lost. Signs nothing until an epoch that begins after this moment (R9)."""
    from node.safety_moves import begin_again

    click.echo(begin_again(home))


@safety_group.command("export")
@home_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write; it must not exist.",
)
def safety_export(home: Path, out: Path) -> None:
    """Writes the record as JSON, to move this validator to another machine. Never start it here again."""
    from node.safety_moves import export_to

    click.echo(export_to(home, out))


@safety_group.command("import")
@home_option
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="File of an export.",
)
def safety_import(home: Path, source: Path) -> None:
    """Takes over an exported record; refuses one that knows less than what is here."""
    from node.safety_moves import import_from

    click.echo(import_from(home, source))


@commands.group("index")
def index_group() -> None:
    """Checks the indexes that lists are served from, and makes them anew. Stop the node first."""


@index_group.command("verify")
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def index_verify(home: Path, as_json: bool) -> None:
    """Compares every index with the chain; exit status 1 where one is wrong."""
    from node import index_work

    _existing(home)
    rows = index_work.verify(home)
    if as_json:
        click.echo(json.dumps({"rows": rows}))
        return
    for name, count in rows.items():
        click.echo(f"{count:>12}  {name}")
    click.echo("every index is what follows from the chain")


@index_group.command("rebuild")
@home_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def index_rebuild(home: Path, as_json: bool) -> None:
    """Makes every index anew. Goes on where it was interrupted; the node does not start before it has ended."""
    from node import index_work

    _existing(home)
    rows = index_work.rebuild(home, lambda what, done: click.echo(f"{done:>12}  rows, {what} done", err=True))
    click.echo(json.dumps({"rows": rows}) if as_json else f"wrote {rows} rows; every index is whole")


@commands.command("version")
def version_command() -> None:
    """Prints the version."""
    click.echo(f"omnitensor-node {version()}")


cli_storage.add_to(commands, home_option, _existing)


if __name__ == "__main__":
    main()
