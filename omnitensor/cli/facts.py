"""The command facts: what files on this disk, or items on the chain, are by their bytes. Spends nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec

from omnitensor.cli.app import App, Command, pass_app
from omnitensor.cli.output import print_json, printable, table
from omnitensor.media import Facts
from omnitensor.sdk import bundles
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.media import agrees, sniff
from omnitensor.sdk.previews import describe
from omnitensor.sdk.results import ItemFacts


@click.command(cls=Command, name="facts")
@click.option(
    "--file",
    "files",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="A file or folder of this disk, decoded here; may be repeated.",
)
@click.option(
    "--item",
    "items",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="N",
    help="An item of the chain, as the node has it; may be repeated.",
)
@click.option(
    "--media-type", metavar="TYPE", help="What the files would be declared as  [default: told from them]"
)
@pass_app
def facts(app: App, files: tuple[Path, ...], items: tuple[int, ...], media_type: str | None) -> None:
    """Say what files or items are by their bytes: type, dimensions, duration, rows, language. Costs nothing."""
    if not files and not items:
        raise InputError("nothing to look at", remedy="name files with --file, or items with --item")
    rows = [_of_file(path, media_type or "") for path in (bundles.gather(files) if files else ())]

    async def ask(client: AsyncClient) -> list[ItemFacts]:
        return list(await asyncio.gather(*(client.item_facts(item) for item in items)))

    rows += [_of_item(found) for found in (app.run(ask) if items else ())]
    if app.as_json:
        print_json({"facts": rows})
        return
    table(
        ["of", "declared", "is", "agrees"],
        [(row["of"], row["declared"], printable(row["summary"]), _yes(row["agrees"])) for row in rows],
    )


def _of_file(path: Path, declared: str) -> dict[str, Any]:
    found = sniff(path, declared)
    return _row(str(path), declared, found, agrees(declared or found.media_type, found), describe(found))


def _of_item(found: ItemFacts) -> dict[str, Any]:
    what = "encrypted: seen where it is opened" if found.private else "its bytes are not at this node"
    summary = describe(found.facts) if found.facts is not None else what
    return _row(f"item {found.item}", found.declared, found.facts, found.agrees, summary)


def _row(of: str, declared: str, found: Facts | None, agree: bool | None, summary: str) -> dict[str, Any]:
    plain = msgspec.to_builtins(found) if found is not None else None
    return {"of": of, "declared": declared, "agrees": agree, "summary": summary, "facts": plain}


def _yes(agree: bool | None) -> str:
    return "" if agree is None else "yes" if agree else "no"
