"""Locked money by typing: granted, listed, taken out as far as it has vested, and every wrong input refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import VaultGrant
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import Amount, TimeMs
from omnitensor.sdk import Client, Wallet
from tests.cli.people import Person
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-multisig")


def text(name: str) -> str:
    return format_address(key(name).address)


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="seconds")


def test_locked_money_opens(chain: SmallChain, tmp_path: Path) -> None:
    giver = Person(tmp_path / "giver", chain.endpoint).log_in("sponsor")
    holder = Person(tmp_path / "holder", chain.endpoint).log_in("second")
    assert holder.must("vault", "list").out == "no vaults\n"
    made = giver.must(
        "vault",
        "grant",
        "--to",
        text("second"),
        "--amount",
        "100",
        "--start",
        moment(-100),
        "--cliff",
        moment(-50),
        "--end",
        moment(10_000),
        "--json",
    ).json
    assert made["receipt"]["code"] == "ok"
    listed = holder.must("vault", "list", "--json").json
    assert (listed["vaults"][0]["vault"], listed["vaults"][0]["total"]) == (made["vault"], "100")
    assert 0 < float(listed["withdrawable"]) < 3
    assert 97 < float(listed["locked"]) < 100
    said = holder.type("vault", "withdraw", made["vault"], "--amount", "50", "--json")
    assert (said.code, "can be withdrawn now" in said.json["error"]["reason"]) == (2, True)
    assert giver.type("vault", "withdraw", made["vault"]).code == 1, "it is the holder's"
    holder.must("vault", "withdraw", made["vault"])
    to = f"validator={format_address(key('v0').address)}"
    holder.must("vault", "order", made["vault"], "delegate", to, "amount=20")
    assert holder.type("vault", "order", made["vault"], "delegate", to).code == 2, "it needs an amount"
    assert holder.type("vault", "order", made["vault"], "transfer", to, "amount=20").code == 2
    assert giver.type("vault", "order", made["vault"], "undelegate", to).code == 1
    shown = holder.must("vault", "show", made["vault"], "--json").json
    assert 76 < float(shown["balance"]) < 80
    assert 0 < float(shown["withdrawn"]) < 3
    assert made["vault"] in holder.must("vault", "list").out


def test_a_vault_that_opens_when_no_calendar_does_is_listed(chain: SmallChain, tmp_path: Path) -> None:
    """A stranger may grant one to anybody, and is not to keep them from seeing their others."""
    far = 2**53
    grant = VaultGrant(key("v3").address, Amount(1), TimeMs(far - 2), TimeMs(far - 1), TimeMs(far))
    with Client(chain.endpoint, home=tmp_path / "stranger") as client:
        client.execute(Wallet(key("sponsor"), key("sponsor").address), grant)
    holder = Person(tmp_path / "holder", chain.endpoint).log_in("v3")
    assert str(far) in holder.must("vault", "list").out
    (vault,) = holder.must("vault", "list", "--json").json["vaults"]
    assert str(far - 1) in holder.must("vault", "show", vault["vault"]).out


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--amount", "1", "--start", "soon", "--end", "2100-01-01"), "not a time"),
        (("--amount", "1", "--start", "1960-01-01", "--end", "2100-01-01"), "before 1970"),
        (("--amount", "1", "--start", "2101-01-01", "--end", "2100-01-01"), "in order"),
        (
            ("--amount", "1", "--start", "2027-01-01", "--cliff", "2102-01-01", "--end", "2100-01-01"),
            "in order",
        ),
        (("--amount", "one", "--start", "2027-01-01", "--end", "2100-01-01"), "not an amount"),
    ],
)
def test_wrong_grants(chain: SmallChain, tmp_path: Path, options: tuple[str, ...], complaint: str) -> None:
    giver = Person(tmp_path / "giver", chain.endpoint).log_in("sponsor")
    said = giver.type("vault", "grant", "--to", text("second"), *options)
    assert said.code == 2
    assert complaint in said.err
    assert giver.type("vault", "show", text("second")).code == 1
    assert (
        giver.type(
            "vault",
            "grant",
            "--to",
            "nobody",
            "--amount",
            "1",
            "--start",
            "2027-01-01",
            "--end",
            "2028-01-01",
        ).code
        == 2
    )
