"""Commands of data sets: dataset export, verify, show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from omnitensor.cli.app import App, Command, Group, pass_app
from omnitensor.cli.output import pairs, print_json, say
from omnitensor.cli.trusting import run_trusting, trust_options
from omnitensor.light import Checkpoint
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.dataset import Checked, Exported, Exporter, Manifest, check
from omnitensor.sdk.dataset.bundle import read_manifest
from omnitensor.sdk.dataset.decrypt import INDEX, NEAR, NEAR_BITS
from omnitensor.sdk.dataset.decrypt import decrypt as make_plain


@click.group(cls=Group)
def dataset() -> None:
    """Export what a campaign accepted, with proof of where it comes from, and check it anywhere."""


@dataset.command(cls=Command)
@click.option("--task-id", required=True, metavar="ID", help="The campaign.")
@click.option(
    "--to", "folder", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="A new folder."
)
@click.option("--unsettled", is_flag=True, help="Also items whose verdict can still be appealed.")
@trust_options
@pass_app
def export(
    app: App, task_id: str, folder: Path, unsettled: bool, checkpoint: str | None, trust_days: float | None
) -> None:
    """Write the accepted items of a campaign into a folder: Parquet, a data set card, Croissant, reports and proofs.

    Interrupted, the same command goes on where it stopped. The folder has its name only when it is whole.
    """

    async def write(client: AsyncClient) -> Exported:
        with _progress(quiet=app.as_json) as watch:
            return await Exporter(client, watch).export(task_id, folder, settled_only=not unsettled)

    done = run_trusting(app, checkpoint, trust_days, write)
    if app.as_json:
        print_json(_shown(done.folder, done.manifest))
        return
    say(f"{done.manifest.rows} items and {done.manifest.reports} reports are in {done.folder}")
    pairs([("root over the rows", done.manifest.row_root), ("block", done.manifest.checkpoint)])
    say(
        f"check it anywhere: otensor-cli dataset verify {done.folder} --checkpoint {done.manifest.checkpoint}"
    )


@dataset.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--online", is_flag=True, help="Compare the export's block with a node's, verified.")
@trust_options
@pass_app
def verify(app: App, folder: Path, online: bool, checkpoint: str | None, trust_days: float | None) -> None:
    """Check every byte of an exported data set, back to one block that you trust.

    Offline, that is the block given with --checkpoint: the one that the export names, once you have compared it, or the last one
    of the epoch before.
    """
    height = read_manifest(folder).height
    header = None
    if online:
        header = run_trusting(app, checkpoint, trust_days, lambda client: client.proven_header(height))
        checkpoint = None
    given = Checkpoint.parse(checkpoint) if checkpoint else None
    with _progress(quiet=app.as_json) as watch:
        found = check(folder, checkpoint=given, header=header, watch=watch)
    if app.as_json:
        print_json(_shown(folder, found.manifest) | {"verified": True, "trusted": found.trusted})
        return
    _tell(found)


@dataset.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--to", "target", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="A new folder."
)
@click.option(
    "--near-bits",
    type=click.IntRange(0, 128),
    default=NEAR_BITS,
    show_default=True,
    metavar="BITS",
    help="Report files whose fingerprints differ in no more bits as near duplicates.",
)
@pass_app
def decrypt(app: App, folder: Path, target: Path, near_bits: int) -> None:
    """Make plain files of a private campaign's data set, as its sponsor, without a node. They are for their owner alone.

    Each is checked against what its contributor declared. Check the data set itself with: dataset verify. Beside the files lies
    what each is, and which nearly repeat an earlier one.
    """
    wallet = app.wallet()
    with _progress(quiet=app.as_json) as watch:
        done = make_plain(wallet, folder, target, watch, near_bits=near_bits)
    if app.as_json:
        told = {"folder": str(done.folder), "items": done.items, "bytes": done.bytes}
        print_json(told | {"near_duplicates": done.near})
        return
    say(f"{done.items} plain files are in {done.folder}, listed in {INDEX}")
    if done.near:
        say(f"{done.near} of them nearly repeat an earlier one: see {NEAR} there")


@dataset.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@pass_app
def show(app: App, folder: Path) -> None:
    """Say what an exported data set is, without checking it."""
    manifest = read_manifest(folder)
    if app.as_json:
        print_json(_shown(folder, manifest))
        return
    pairs(
        [
            ("title", manifest.title),
            ("campaign", f"{manifest.campaign} of {manifest.chain_id}"),
            ("items", manifest.rows),
            ("reports", manifest.reports),
            ("licence", manifest.licence),
            ("root over the rows", manifest.row_root),
            ("block", manifest.checkpoint),
            ("files", len(manifest.files)),
        ]
    )


def _tell(found: Checked) -> None:
    manifest = found.manifest
    say(
        f"every byte holds: {manifest.rows} items and {manifest.reports} reports of campaign {manifest.campaign}"
    )
    pairs([("root over the rows", manifest.row_root), ("held against", found.trusted)])


def _shown(folder: Path, manifest: Manifest) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "chain_id": manifest.chain_id,
        "campaign": manifest.campaign,
        "title": manifest.title,
        "licence": manifest.licence,
        "rows": manifest.rows,
        "reports": manifest.reports,
        "row_root": manifest.row_root,
        "checkpoint": manifest.checkpoint,
        "settled_only": manifest.settled_only,
    }


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is done, on standard error."""
    console = Console(stderr=True)
    bars: dict[str, TaskID] = {}
    shown = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console, transient=True,
        disable=quiet or not console.is_terminal,
    )  # fmt: skip
    with shown:

        def watch(what: str, done: int, whole: int) -> None:
            if what not in bars:
                bars[what] = shown.add_task(what, total=whole)
            shown.update(bars[what], completed=done, total=whole)

        yield watch
