"""Pages of reference that are made from the code: every command with its options, every metric.

Run as a module it writes ``docs/specification/commands.md`` and ``docs/specification/metrics.md`` anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from node import cli as node_cli
from node.config import SETTINGS
from node.metrics import Metrics, ProcessNumbers
from omnitensor.cli.main import cli

PAGES: Final = Path(__file__).resolve().parents[2] / "docs" / "specification"
COMMON: Final = ("json", "endpoint", "home", "passphrase-file", "help")
PROGRAMS: Final = (("otensor-cli", cli), ("omnitensor-node", node_cli.commands))


def every_command(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A command and all below it, with what is typed to call each."""
    yield name, command
    if isinstance(command, click.Group):
        for below, found in sorted(command.commands.items()):
            yield from every_command(f"{name} {below}", found)


def own_options(name: str, command: click.Command) -> list[click.Option]:
    """Options of a command alone: neither those that every command takes, nor a node's settings."""
    skipped = {f"--{each}" for each in COMMON} if name.startswith("otensor-cli ") else {"--help"}
    skipped |= {setting.flag for setting in SETTINGS}
    options = [param for param in command.params if isinstance(param, click.Option)]
    return [option for option in options if not option.hidden and not skipped & set(option.opts)]


def commands_page() -> str:
    lines = [
        "# Commands",
        "",
        "Made from the programs themselves by `python -m tests.style.reference_pages`; `--help` says the same.",
        "Every command of `otensor-cli` also takes `--json`, `--endpoint`, `--home` and `--passphrase-file`.",
        "`omnitensor-node init`, `start` and `worker` take every [setting](../guides/operator.md#settings) as a flag.",
    ]
    for program, root in PROGRAMS:
        lines += ["", f"## {program}"]
        for name, command in every_command(program, root):
            arguments = [
                param.make_metavar(click.Context(command))
                for param in command.params
                if isinstance(param, click.Argument)
            ]
            if name != program:
                lines += ["", f"### {name}", "", f"`{' '.join((name, *arguments))}`"]
            lines += ["", " ".join((command.help or "").split())]
            options = own_options(name, command)
            if options:
                lines += ["", "| option | is |", "| --- | --- |"]
                lines += [_row(option) for option in options]
    return "\n".join(lines) + "\n"


def _row(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.make_metavar(click.Context(cli))}"
    notes = "; needed" if option.required else "; may be repeated" if option.multiple else ""
    if option.show_default and option.default is not None and not callable(option.default):
        notes += f"; default {option.default}"
    text = (option.help or "").replace("|", "\\|")
    text = (text.removesuffix(".") if notes else text) + notes
    names = ", ".join((*option.opts, *option.secondary_opts)) + value
    return f"| `{names.replace('|', ' or ')}` | {text} |"


def metrics_page() -> str:
    metrics = Metrics()
    metrics.registry.register(ProcessNumbers())
    lines = [
        "# Metrics",
        "",
        "What a node shows at `/metrics`, made from its table by `python -m tests.style.reference_pages`.",
        "[Which to watch](../guides/operator.md#watching-it).",
        "",
        "Besides these, `omnitensor_content_...` are numbers of the content store and `omnitensor_p2p_...` of connections",
        "with peers: messages and bytes in and out, dials that failed, what gossip was judged to be, addresses known.",
        "",
        "| metric | kind | is |",
        "| --- | --- | --- |",
    ]
    for family in sorted(metrics.registry.collect(), key=lambda family: family.name):
        name = family.name + ("_total" if family.type == "counter" else "")
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


PAGES_MADE: Final = (("commands.md", commands_page), ("metrics.md", metrics_page))


def main() -> None:
    for name, made in PAGES_MADE:
        (PAGES / name).write_text(made(), encoding="utf-8")


if __name__ == "__main__":
    main()
