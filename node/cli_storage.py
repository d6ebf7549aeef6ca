"""Commands ``snapshot``: takes arguments and prints; ``snapshot_work`` does it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from node.snapshot_work import Shown


def add_to(
    commands: click.Group, home_option: Callable[[Any], Any], existing: Callable[[Path], None]
) -> None:
    """Adds the commands to those of a node."""

    @commands.group("snapshot")
    def snapshot_group() -> None:
        """Takes snapshots of the state at an epoch's end, hands them on, and begins a node with one."""

    @snapshot_group.command("list")
    @home_option
    @json_option
    def list_(home: Path, as_json: bool) -> None:
        """Shows the snapshots in the node's folder, the newest first."""
        from node import snapshot_work

        existing(home)
        found = snapshot_work.listed(home)
        if as_json:
            click.echo(json.dumps([_fields(each) for each in found]))
        elif not found:
            click.echo("no snapshots (a running node takes them by itself: setting snapshots.every)")
        else:
            for each in found:
                click.echo(_line(each))

    @snapshot_group.command("create")
    @home_option
    @click.option(
        "--wait",
        type=click.FloatRange(min=0),
        default=900.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a running node's next boundary.",
    )
    @json_option
    def create(home: Path, wait: float, as_json: bool) -> None:
        """Takes one: of a stopped node at once, if its last block is an epoch's last; of a running one at its next boundary."""
        from node import snapshot_work

        existing(home)
        _say(snapshot_work.create(home, wait), as_json)

    @snapshot_group.command("export")
    @home_option
    @click.option("--height", type=click.IntRange(min=1), help="Which one; the newest without it.")
    @click.option(
        "--out",
        type=click.Path(dir_okay=False, path_type=Path),
        required=True,
        help="File to write; it must not exist.",
    )
    @json_option
    def export(home: Path, height: int | None, out: Path, as_json: bool) -> None:
        """Copies a snapshot to one file. Give its checkpoint (height:hash) to whoever is to believe it."""
        from node import snapshot_work

        existing(home)
        _say(snapshot_work.export(home, height, out), as_json)

    @snapshot_group.command("verify")
    @home_option
    @file_option
    @checkpoint_option
    @json_option
    def verify(home: Path, source: Path, checkpoint: str, as_json: bool) -> None:
        """Checks a snapshot file as an import does, and writes nothing."""
        from node import snapshot_work

        existing(home)
        _say(snapshot_work.verify(home, source, checkpoint, _progress), as_json)

    @snapshot_group.command("import")
    @home_option
    @file_option
    @checkpoint_option
    @click.option("--replace", is_flag=True, help="Move a chain that has blocks aside.")
    @json_option
    def import_(home: Path, source: Path, checkpoint: str, replace: bool, as_json: bool) -> None:
        """Makes the node's chain of a snapshot file, every row checked. Stop the node first; interrupted, run it again."""
        from node import snapshot_work

        existing(home)
        found, aside = snapshot_work.import_from(home, source, checkpoint, replace=replace, tell=_progress)
        if as_json:
            click.echo(json.dumps(_fields(found) | {"aside": None if aside is None else str(aside)}))
            return
        click.echo(f"imported    {_line(found)}")
        if aside is not None:
            click.echo(f"the chain that was there is in {aside}")


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
file_option = click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The snapshot file.",
)
checkpoint_option = click.option(
    "--checkpoint",
    default="",
    metavar="HEIGHT:HASH",
    help="An epoch's last block, at or below the snapshot, that you trust; without it genesis, while the chain is young.",
)


def _progress(done: int, of: int) -> None:
    """One line that counts, where somebody looks at it."""
    if sys.stderr.isatty():
        click.echo(f"\rchunk {done} of {of}", err=True, nl=done == of)


def _say(found: Shown, as_json: bool) -> None:
    click.echo(json.dumps(_fields(found)) if as_json else _line(found))


def _fields(found: Shown) -> dict[str, object]:
    return {
        "height": found.height,
        "hash": found.hash,
        "checkpoint": found.checkpoint,
        "rows": found.rows,
        "bytes": found.bytes,
        "path": str(found.path),
    }


def _line(found: Shown) -> str:
    return f"{found.checkpoint}  {found.rows} rows, {found.bytes} bytes, {found.path}"
