"""The options of commands that verify, and running them with what they trust."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import click

from omnitensor.cli.app import App
from omnitensor.light import Checkpoint
from omnitensor.sdk.client import AsyncClient

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

CHECKPOINT: Final = "OMNITENSOR_CHECKPOINT"
DAY_S: Final = 86_400


def trust_options(command: F) -> F:
    """The options of every command that verifies."""
    for option in (
        click.option(
            "--trust-days",
            type=click.FloatRange(min=0, min_open=True),
            help="For how many days a block is trusted; less where stake is bound for less  [default: 14, less an epoch]",
        ),
        click.option(
            "--checkpoint",
            metavar="HEIGHT:HASH",
            envvar=CHECKPOINT,
            help=f"A block that you trust  [default: ${CHECKPOINT}, the last one verified here, or genesis]",
        ),
    ):
        command = option(command)
    return command


def run_trusting(
    app: App,
    checkpoint: str | None,
    trust_days: float | None,
    work: Callable[[AsyncClient], Coroutine[Any, Any, T]],
) -> T:
    """What `work` gives with a client that verifies."""
    given = Checkpoint.parse(checkpoint) if checkpoint else None
    return app.run(work, checkpoint=given, trust_period_s=None if trust_days is None else trust_days * DAY_S)
