"""Commands ``snapshot`` and ``doctor``: take arguments and print; ``snapshot_work``, ``doctor`` and ``repairs`` do it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from node.repairs import Repaired
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

    @commands.command("doctor")
    @home_option
    @click.option("--deep", is_flag=True, help="Read every block, row and chunk, too.")
    @click.option("--rebuild-indexes", is_flag=True, help="Make every index anew from state and blocks.")
    @click.option(
        "--replay", is_flag=True, help="Make the database anew from its own blocks, as far as they are right."
    )
    @click.option(
        "--restore",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Make the database of a snapshot file.",
    )
    @click.option(
        "--refetch", is_flag=True, help="Begin an empty database, which the node fills from its peers."
    )
    @checkpoint_option
    @json_option
    def doctor(
        home: Path,
        deep: bool,
        rebuild_indexes: bool,
        replay: bool,
        restore: Path | None,
        refetch: bool,
        checkpoint: str,
        as_json: bool,
    ) -> None:
        """Says what is wrong with a node's folder, and what to do; exit status 1 where something is.

        Mends only what it is told to, by one of the flags; a damaged database is kept beside the new one.
        """
        from node import repairs

        existing(home)
        if rebuild_indexes + replay + (restore is not None) + refetch > 1:
            raise click.UsageError("give one way to mend at a time")
        if rebuild_indexes:
            rows = repairs.rebuild_indexes(home, lambda what, done: None)
            click.echo(json.dumps({"rows": rows}) if as_json else f"wrote {rows} rows; every index is whole")
        elif replay:
            _say_repaired(repairs.replay(home, _progress), as_json)
        elif restore is not None:
            _say_repaired(repairs.restore(home, restore, checkpoint, _progress), as_json)
        elif refetch:
            _say_repaired(repairs.refetch(home), as_json)
        else:
            sys.exit(_examine(home, deep=deep, as_json=as_json))


def _examine(home: Path, *, deep: bool, as_json: bool) -> int:
    """Prints every finding; the exit status."""
    from node import doctor

    found = doctor.examine(home, deep=deep)
    bad = any(finding.level is doctor.Level.ERROR for finding in found)
    if as_json:
        findings = [
            {"level": each.level.value, "check": each.check, "what": each.what, "remedy": each.remedy}
            for each in found
        ]
        click.echo(json.dumps({"ok": not bad, "findings": findings}))
        return int(bad)
    for each in found:
        click.echo(f"{each.level.value:<8} {each.check:<10} {each.what}")
        if each.remedy:
            click.echo(f"{'':<19} -> {each.remedy}")
    click.echo("something is wrong: see above" if bad else "nothing keeps this node from working")
    return int(bad)


def _say_repaired(done: "Repaired", as_json: bool) -> None:
    aside = None if done.aside is None else str(done.aside)
    if as_json:
        click.echo(json.dumps({"height": done.height, "aside": aside, "ended_by": done.ended_by}))
        return
    click.echo(
        f"the chain is at height {done.height}; start the node, and it fetches the rest from its peers"
    )
    if done.ended_by:
        click.echo(f"it went no further because of {done.ended_by}")
    if aside is not None:
        click.echo(f"what was there before is in {aside}")


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
        click.echo(f"\r{done} of {of}", err=True, nl=done == of)


def _say(found: "Shown", as_json: bool) -> None:
    click.echo(json.dumps(_fields(found)) if as_json else _line(found))


def _fields(found: "Shown") -> dict[str, object]:
    return {
        "height": found.height,
        "hash": found.hash,
        "checkpoint": found.checkpoint,
        "rows": found.rows,
        "bytes": found.bytes,
        "path": str(found.path),
    }


def _line(found: "Shown") -> str:
    return f"{found.checkpoint}  {found.rows} rows, {found.bytes} bytes, {found.path}"
