"""Tells a devnet's story on the terminal: steps with the seconds they took, commands, tables. Knows no chain."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape


class Teller:
    """Writes to one console, from any thread; counts seconds from when it was made."""

    def __init__(self, console: Console | None = None) -> None:
        self.console: Final = console or Console(highlight=False, soft_wrap=True)
        self._began: Final = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def chapter(self, title: str) -> None:
        self.console.print()
        self.console.print(f"[bold]{escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """One line with the time."""
        self.console.print(f"[dim]{self.seconds:6.1f}s[/dim]  {escape(text)}")

    def good(self, text: str) -> None:
        self.console.print(f"[dim]{self.seconds:6.1f}s[/dim]  [green]{escape(text)}[/green]")

    def bad(self, text: str) -> None:
        self.console.print(f"[dim]{self.seconds:6.1f}s[/dim]  [yellow]{escape(text)}[/yellow]")

    def typed(self, line: str) -> None:
        """A command as a person types it."""
        self.console.print(f"         [cyan]$ {escape(line)}[/cyan]")

    def block(self, text: str) -> None:
        """What a command printed, in one piece however many threads tell."""
        lines = [f"           {escape(line)}" for line in text.rstrip().splitlines()]
        self.console.print("\n".join(lines))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns side by side, the first to the left; never cut, however narrow the terminal, so that all can be copied."""
        lines = [headings, *rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
        for number, line in enumerate(lines):
            first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            text = "  ".join([first.strip().ljust(widths[0]), *others])
            self.console.print(f"[bold]{escape(text)}[/bold]" if number == 0 else escape(text))

    @contextmanager
    def work(self, text: str) -> Iterator[None]:
        """Shows that something is under way, and at the end that it is done."""
        with self.console.status(escape(text)):
            yield
        self.good(text)

    def failure(self, text: str) -> None:
        self.console.print(f"\n[bold red]error:[/bold red] {escape(text)}")
