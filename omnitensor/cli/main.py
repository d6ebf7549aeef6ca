"""Entry point of ``otensor-cli``: the commands put together, and every failure ended in one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata

import click
import msgspec
from click.shell_completion import get_completion_class

from omnitensor.cli import (
    account,
    apikey,
    campaign,
    chain,
    data,
    dataset,
    delegation,
    evidence,
    facts,
    gold,
    governance,
    model,
    multisig,
    private,
    report,
    review,
    season,
    stake,
    vault,
    work,
)
from omnitensor.cli.app import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    PROGRAM,
    App,
    Group,
    error_fields,
    exit_code,
)
from omnitensor.cli.output import print_json, printable
from omnitensor.protocol.errors import ProtocolError, shorten
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.faults import FaultsError


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(metadata.version("omnitensor"), prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Contribute data to AI campaigns, judge it, and be paid for it, on OmniTensor's chain.

    Amounts are in OMNIT. Keys never leave this machine.
    """
    ctx.ensure_object(App)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands in a shell: eval "$(otensor-cli completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise InputError("no completion for this shell", value=shell, remedy="choose bash, zsh or fish")
    click.echo(kind(cli, {}, PROGRAM, "_OTENSOR_CLI_COMPLETE").source())


for command in (
    account.login,
    account.logout,
    account.whoami,
    data.upload_data,
    facts.facts,
    data.download_data,
    data.check_status,
    data.check_rewards,
    dataset.dataset,
    campaign.campaign,
    gold.gold,
    gold.appeal,
    review.review,
    report.report,
    private.private,
    delegation.stake,
    stake.validator,
    work.worker,
    work.job,
    work.compute,
    evidence.evidence,
    governance.governance,
    model.model,
    apikey.api_key,
    multisig.multisig,
    vault.vault,
    season.leaderboard,
    season.season,
    season.badges,
    season.competition,
    account.transfer,
    account.tx,
    account.status,
    chain.chain,
):
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; returns the exit status, having said in one line what went wrong."""
    as_json = "--json" in arguments
    try:
        answer = cli.main(args=list(arguments), prog_name=PROGRAM, standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return exit_code(error)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except (ProtocolError, click.ClickException) as error:
        return _failed(error, as_json)
    except ExceptionGroup as group:
        first = group.exceptions[0]
        if isinstance(first, ProtocolError):
            return _failed(first, as_json)
        raise
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except OSError as error:
        failed = InputError(error.strerror or str(error), value=shorten(error.filename))
        try:
            return _failed(failed, as_json)
        except OSError:  # it is the output's own place that takes nothing: its disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _failed(failed, as_json=False)


def _failed(error: ProtocolError | click.ClickException, as_json: bool) -> int:
    fields = error_fields(error)
    faults = error.faults if isinstance(error, FaultsError) else ()
    if as_json:
        every = {"faults": [msgspec.to_builtins(fault) for fault in faults]} if faults else {}
        print_json({"error": fields | every})
    elif faults:
        for fault in faults:
            _say_error(f"{fault.where}: {fault.reason}", fault.value, fault.remedy)
    else:
        _say_error(fields["reason"], fields["value"], fields["remedy"])
    return exit_code(error)


def _say_error(reason: str, value: str, remedy: str) -> None:
    """One thing that is wrong, in one line."""
    line = f"error: {reason}{f': {value}' if value else ''}{f' ({remedy})' if remedy else ''}"
    click.echo(printable(" ".join(line.split("\n"))), err=True)


def main() -> None:
    """Entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
