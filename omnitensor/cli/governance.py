"""Commands of governance: propose, deposit, vote, cancel, and looking at proposals, votes, parameters and upgrades."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from omnitensor.cli.account import show_final
from omnitensor.cli.app import App, Group, pass_app
from omnitensor.cli.output import money, money_json, pairs, print_json, say, share, table
from omnitensor.protocol.amounts import format_omnit, parse_omnit
from omnitensor.protocol.bodies import ProposalCancel, ProposalDeposit, ProposalVote, VoteOption
from omnitensor.protocol.types import ProposalId
from omnitensor.sdk.client import AsyncClient
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.governance import ParameterInfo, ProposalInfo, TallyInfo, UpgradeInfo, VoteInfo
from omnitensor.sdk.proposals import ProposalDraft, draft_from, draft_from_file
from omnitensor.sdk.results import TransactionResult

OPTIONS = tuple(option.name.lower() for option in VoteOption)
STATUSES = (
    *("deposit", "voting", "passed", "executed", "failed", "rejected"),
    *("vetoed", "no_quorum", "expired", "cancelled"),
)


@click.group(cls=Group)
def governance() -> None:
    """Propose changes to the chain, vote on them, look at its parameters."""


@governance.command(name="propose")
@click.option(
    "--file", "file", type=click.Path(path_type=Path), metavar="FILE", help="The proposal, as TOML or JSON."
)
@click.option("--title", metavar="TEXT", help="What it is about, in a line.")
@click.option("--summary", metavar="TEXT", help="Why; as much as is needed.")
@click.option("--deposit", metavar="OMNIT", help="Your part of the deposit  [default: all of it]")
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="A parameter's new value; may be repeated."
)
@click.option(
    "--spend",
    "payments",
    multiple=True,
    metavar="ADDRESS=OMNIT",
    help="A payment from the reserve; may be repeated.",
)
@click.option("--admit", multiple=True, metavar="ADDRESS", help="An account that may validate.")
@click.option("--dismiss", multiple=True, metavar="ADDRESS", help="An account that may no longer register.")
@click.option("--upgrade", metavar="NAME", help="A software upgrade, with --upgrade-version and --height.")
@click.option("--upgrade-version", metavar="TEXT", help="What to install for it.")
@click.option("--height", type=click.IntRange(min=1), metavar="N", help="The first block that needs it.")
@click.option("--cancel-upgrade", metavar="NAME", help="Take a planned upgrade back.")
@pass_app
def governance_propose(app: App, /, file: Path | None, **options: Any) -> None:
    """Make a proposal; with the whole deposit its vote begins at once."""
    draft = _draft(file, options)
    content = draft.content()  # what is wrong with it is said before a password is asked for
    deposit = None if draft.deposit is None else parse_omnit(draft.deposit)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.propose(wallet, draft, deposit=deposit)

    found = app.run(send)
    assert found.receipt is not None, "it is final"
    number = next(each["proposal"] for each in found.receipt.events if each["kind"] == "proposal.submitted")
    if app.as_json:
        print_json({"proposal": number, "kind": content.KIND, "tx": found.id, "height": found.height})
        return
    voting = any(each["kind"] == "proposal.voting" for each in found.receipt.events)
    following = "its vote has begun" if voting else "its vote begins when the deposit is complete"
    say(f"proposal {number} is made (height {found.height}); {following}")


@governance.command(name="deposit")
@click.argument("proposal", type=click.IntRange(min=0))
@click.option("--amount", metavar="OMNIT", help="How much  [default: all that is missing]")
@pass_app
def governance_deposit(app: App, proposal: int, amount: str | None) -> None:
    """Add to a proposal's deposit. It returns, unless the vote ends with a veto or without a quorum."""
    given = None if amount is None else parse_omnit(amount)
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        part = given if given is not None else (await client.proposal(proposal)).lacking
        return await client.execute(wallet, ProposalDeposit(ProposalId(proposal), part))  # type: ignore[arg-type]  # an amount

    show_final(app, app.run(send), f"the deposit of proposal {proposal} has grown")


@governance.command(name="vote")
@click.argument("proposal", type=click.IntRange(min=0))
@click.argument("option", type=click.Choice(OPTIONS))
@pass_app
def governance_vote(app: App, proposal: int, option: str) -> None:
    """Vote with all stake that you have or delegated; a later vote replaces it, until the end."""
    wallet = app.wallet()
    body = ProposalVote(ProposalId(proposal), VoteOption[option.upper()])

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, body)

    show_final(app, app.run(send), f"{wallet.text} votes {option} on proposal {proposal}")


@governance.command(name="cancel")
@click.argument("proposal", type=click.IntRange(min=0))
@pass_app
def governance_cancel(app: App, proposal: int) -> None:
    """Take your own proposal back before its vote begins; deposits return."""
    wallet = app.wallet()

    async def send(client: AsyncClient) -> TransactionResult:
        return await client.execute(wallet, ProposalCancel(ProposalId(proposal)))

    show_final(app, app.run(send), f"proposal {proposal} is taken back")


@governance.command(name="list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those of a status.")
@pass_app
def governance_list(app: App, status: str | None) -> None:
    """List proposals, the newest first."""

    async def ask(client: AsyncClient) -> list[ProposalInfo]:
        return await client.proposals(status=status)

    found = app.run(ask)
    if app.as_json:
        print_json({"proposals": [_line_json(each) for each in found]})
    elif not found:
        say("no proposals")
    else:
        table(
            ["proposal", "status", "does", "title", "deposit OMNIT", "votes until height"],
            [
                (
                    each.proposal,
                    each.status,
                    each.kind,
                    each.title,
                    money_json(each.deposit),
                    each.voting_until,
                )
                for each in found
            ],
        )


@governance.command(name="show")
@click.argument("proposal", type=click.IntRange(min=0))
@click.option("--votes", "with_votes", is_flag=True, help="List the votes, too.")
@pass_app
def governance_show(app: App, proposal: int, with_votes: bool) -> None:
    """Show a proposal: what it would do, and its votes so far."""

    async def ask(client: AsyncClient) -> tuple[ProposalInfo, list[VoteInfo]]:
        return await client.proposal(proposal), await client.votes(proposal) if with_votes else []

    found, votes = app.run(ask)
    if app.as_json:
        plain = _line_json(found) | {
            "summary": found.summary,
            "content": found.content,
            "deposits": [
                {"depositor": each.depositor, "amount": money_json(each.amount)} for each in found.deposits
            ],
            "tally": None if found.tally is None else _tally_json(found.tally),
            "reason": found.reason,
        }
        print_json(plain | ({"votes": [each.as_dict() for each in votes]} if with_votes else {}))
        return
    pairs(
        [
            ("proposal", f"{found.proposal} ({found.status})"),
            ("title", found.title),
            ("proposer", found.proposer),
            *_content_lines(found.content),
            ("deposit", f"{money(found.deposit)} of {money(found.deposit_wanted)}"),
            *([("deposit until", f"height {found.deposit_until}")] if found.status == "deposit" else []),
            *([("votes until", f"height {found.voting_until}")] if found.voting_until else []),
            *([("executes at", f"height {found.executes_at}")] if found.executes_at else []),
            *(_tally_lines(found.tally) if found.tally else []),
            *([("failed", found.reason)] if found.reason else []),
        ]
    )
    if found.summary:
        say(f"\n{found.summary}")
    if votes:
        table(["voter", "option", "at height"], [(each.voter, each.option, each.height) for each in votes])


@governance.command(name="params")
@click.argument("names", nargs=-1)
@pass_app
def governance_params(app: App, names: tuple[str, ...]) -> None:
    """Show parameters with their bounds, when a change takes effect, and which proposal set them."""

    async def ask(client: AsyncClient) -> list[ParameterInfo]:
        return await client.parameters()

    every = app.run(ask)
    found = [each for each in every if not names or each.name in names]
    unknown = set(names) - {each.name for each in every}
    if unknown:
        raise InputError(
            "there is no such parameter",
            value=", ".join(sorted(unknown)),
            remedy="run it without a name to see all",
        )
    if app.as_json:
        print_json({"parameters": [each.as_dict() for each in found]})
        return
    table(
        ["parameter", "value", "least", "most", "unit", "takes effect", "set by"],
        [
            (
                each.name,
                each.value if each.next_epoch is None else f"{each.value} (next epoch {each.next_epoch})",
                each.low,
                each.high,
                each.unit,
                each.takes_effect,
                "genesis" if each.proposal is None else f"proposal {each.proposal}",
            )
            for each in found
        ],
    )
    if len(found) == 1:
        say(f"\n{found[0].about}")


@governance.command(name="upgrades")
@pass_app
def governance_upgrades(app: App) -> None:
    """List agreed software upgrades, and whether the node is ready for them."""

    async def ask(client: AsyncClient) -> list[UpgradeInfo]:
        return await client.upgrades()

    found = app.run(ask)
    if app.as_json:
        print_json({"upgrades": [each.as_dict() for each in found]})
    elif not found:
        say("no upgrades")
    else:
        table(
            ["upgrade", "version", "from height", "proposal", "known to the node"],
            [
                (each.name, each.version, each.height, each.proposal, "yes" if each.known else "no")
                for each in found
            ],
        )


def _draft(file: Path | None, options: dict[str, Any]) -> ProposalDraft:
    """The draft of a file, of options, or of a file with options put over it. Raises InputError."""
    given: dict[str, Any] = {
        name: options[name] for name in ("title", "summary", "deposit", "cancel_upgrade") if options[name]
    }
    if options["changes"]:
        given["parameters"] = dict(_split(text, "NAME=VALUE") for text in options["changes"])
    if options["payments"]:
        pairs_ = [_split(text, "ADDRESS=OMNIT") for text in options["payments"]]
        given["spend"] = [{"to": to, "amount": amount} for to, amount in pairs_]
    for name in ("admit", "dismiss"):
        if options[name]:
            given[name] = list(options[name])
    upgrade = {"name": options["upgrade"], "version": options["upgrade_version"], "height": options["height"]}
    if any(value is not None for value in upgrade.values()):
        missing = [name for name, value in upgrade.items() if value is None]
        if missing:
            raise InputError(
                "options are missing",
                value=", ".join(missing),
                remedy="an upgrade has --upgrade, --upgrade-version and --height",
            )
        given["upgrade"] = upgrade
    if file is None:
        if "title" not in given:
            raise InputError("options are missing", value="--title", remedy="give it, or a file with --file")
        return draft_from(given, "the options")
    base = draft_from_file(file)
    return draft_from({**_plain(base), **given}, str(file)) if given else base


def _plain(draft: ProposalDraft) -> dict[str, Any]:
    return {name: value for name in draft.__struct_fields__ if (value := getattr(draft, name)) is not None}


def _split(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise InputError(f"not of the form {form}", value=text, remedy=f"write {form}")
    return name.strip(), value.strip()


def _content_lines(content: dict[str, Any]) -> list[tuple[str, str]]:
    kind = content.get("kind", "")
    match kind:
        case "parameters":
            return [
                ("sets", f"{each['name']} = {each['value']}" + (f"/{each['of']}" if each["of"] else ""))
                for each in content["changes"]
            ]
        case "spend":
            return [
                ("pays", f"{format_omnit(int(each['amount']))} to {each['to']}")
                for each in content["payments"]
            ]
        case "admission":
            return [("admits", each) for each in content["admit"]] + [
                ("dismisses", each) for each in content["dismiss"]
            ]
        case "upgrade":
            text = f"{content['name']} (install {content['version']}) from height {content['height']} on"
            return [("upgrades", text)]
        case "upgrade_cancel":
            return [("takes back", f"the upgrade {content['name']}")]
    return [("does", "nothing: a text to agree on")]


def _tally_lines(found: TallyInfo) -> list[tuple[str, str]]:
    def part(amount: int) -> str:
        of = f" ({amount * 100 / found.voted:.2f} %)" if found.voted else ""
        return f"{money(amount)}{of}"

    turnout = f"{found.voted * 100 / found.power:.2f}" if found.power else "0"
    return [
        ("yes", part(found.yes)),
        ("no", part(found.no)),
        ("abstain", part(found.abstain)),
        ("veto", part(found.veto)),
        ("took part", f"{turnout} % of {money(found.power)}, quorum {share(found.quorum_bps)}"),
        ("outcome" if found.final else "if it ended now", found.outcome),
    ]


def _line_json(found: ProposalInfo) -> dict[str, Any]:
    plain = found.as_dict()
    for name in ("summary", "content", "deposits", "tally", "reason"):
        plain.pop(name)
    return plain | {
        "deposit": money_json(found.deposit),
        "deposit_wanted": money_json(found.deposit_wanted),
    }


def _tally_json(found: TallyInfo) -> dict[str, Any]:
    amounts = ("yes", "no", "abstain", "veto", "voted", "power")
    return found.as_dict() | {name: money_json(getattr(found, name)) for name in amounts}
