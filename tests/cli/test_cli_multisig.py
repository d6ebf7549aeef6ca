"""Accounts of several keys by typing: files made, passed around, signed, combined and sent, and every wrong file refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import NANO
from tests.cli.people import Person
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-multisig")
MEMBERS = ("contributor", "second", "v1")


def text(name: str) -> str:
    return format_address(key(name).address)


def member_options(*names: str) -> list[str]:
    return [part for name in names for part in ("--member", text(name))]


@pytest.fixture
def people(chain: SmallChain, tmp_path: Path) -> dict[str, Person]:
    return {
        name: Person(tmp_path / name, chain.endpoint).log_in(name) for name in (*MEMBERS, "sponsor", "v2")
    }


@pytest.fixture
def account(people: dict[str, Person], tmp_path: Path) -> Path:
    path = tmp_path / "account.json"
    people["sponsor"].must(
        "multisig", "create", "--threshold", "2", *member_options(*MEMBERS), "--out", str(path)
    )
    return path


def test_two_of_three_send_money(
    chain: SmallChain, people: dict[str, Person], account: Path, tmp_path: Path
) -> None:
    sponsor = people["sponsor"]
    shown = sponsor.must("multisig", "show", str(account), "--json").json
    address = shown["account"]
    assert (shown["threshold"], sorted(shown["members"])) == (2, sorted(map(text, MEMBERS)))
    sponsor.must("transfer", "--to", address, "--amount", "50")
    before = sponsor.must("multisig", "show", address, "--json").json
    assert (before["balance"], before["sequence"], before["members"]) == ("50", 0, None)

    order, one, two, whole = (tmp_path / f"{name}.json" for name in ("order", "one", "two", "whole"))
    values = (f"to={text('v2')}", "amount=12.5")
    made = sponsor.must(
        "multisig", "order", str(account), "transfer", *values, "--out", str(order), "--json"
    ).json
    assert made["values"] == {"to": text("v2"), "amount": "12.5"}
    assert (made["missing"], made["sequence"], made["chain_id"]) == (2, 0, CHAIN_ID)

    assert sponsor.type("multisig", "sign", str(order), "--yes").code == 2, "no member"
    assert people["second"].type("multisig", "sign", str(order)).code == 2, "nobody is there to ask"
    people["second"].must("multisig", "sign", str(order), "--yes", "--out", str(one))
    again = people["second"].type("multisig", "sign", str(one), "--yes", "--json")
    assert (again.code, "signed already" in again.json["error"]["reason"]) == (2, True)
    refused = sponsor.type("multisig", "send", str(one))
    assert (refused.code, "1 more of 3 members" in refused.err) == (2, True)
    people["v1"].must("multisig", "sign", str(order), "--yes", "--out", str(two))
    assert "it can be sent" not in people["sponsor"].must("multisig", "show", str(two)).out
    both = sponsor.must("multisig", "combine", str(one), str(two), "--out", str(whole), "--json").json
    assert (both["missing"], sorted(both["signed_by"])) == (0, sorted([text("second"), text("v1")]))

    held = chain.balance("v2")
    sent = people["sponsor"].must("multisig", "send", str(whole), "--json").json
    assert sent["receipt"]["code"] == "ok"
    assert chain.balance("v2") == held + 12 * NANO + NANO // 2
    after = sponsor.must("multisig", "show", address, "--json").json
    assert (after["balance"], after["sequence"], after["threshold"]) == ("37.5", 1, 2)
    late = sponsor.type("multisig", "send", str(whole), "--json")
    assert (late.code, "number 1" in late.json["error"]["reason"]) == (2, True)


def test_an_order_made_offline(people: dict[str, Person], account: Path, tmp_path: Path) -> None:
    away = Person(tmp_path / "contributor", "http://127.0.0.1:9")
    order = tmp_path / "offline.json"
    offline = ("--chain-id", CHAIN_ID, "--sequence", "0", "--valid-until", "5000")
    away.must("multisig", "order", str(account), "stake_withdraw", "amount=1", *offline, "--out", str(order))
    away.must("multisig", "sign", str(order), "--yes")
    assert "stake_withdraw" in away.must("multisig", "show", str(order)).out
    assert (
        away.type("multisig", "order", str(account), "transfer", *offline, "--out", str(tmp_path / "x")).code
        == 2
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("transfer", "amount=1"), "needs to"),
        (("transfer", "to=nobody", "amount=1"), "not an address"),
        (("transfer", "amount=1", "amount=2"), "twice"),
        (("transfer", "amount"), "not a value"),
        (("transfer", "colour=red"), "no such value"),
        (("campaign_close", "campaign=one"), "neither a number nor JSON"),
        (("campaign_open", "spec=[1]", "budget=1"), "JSON object"),
        (("session_key_add", "key=zz", "scopes=1", "valid_until=9", "allowance=1"), "hexadecimal"),
        (
            ("session_key_add", "key=00", "scopes=1", "valid_until=9", "allowance=1"),
            "not a valid session_key_add",
        ),
    ],
)
def test_wrong_orders_are_not_made(
    people: dict[str, Person], account: Path, tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    out = tmp_path / "never.json"
    said = people["sponsor"].type("multisig", "order", str(account), *arguments, "--out", str(out))
    assert said.code == 2
    assert complaint in said.err
    assert not out.exists()


def test_wrong_accounts_are_not_made(people: dict[str, Person], tmp_path: Path) -> None:
    sponsor, out = people["sponsor"], str(tmp_path / "never.json")
    for threshold, names in (("0", MEMBERS), ("4", MEMBERS), ("1", ("v1", "v1"))):
        said = sponsor.type(
            "multisig", "create", "--threshold", threshold, *member_options(*names), "--out", out
        )
        assert said.code != 0
        assert not Path(out).exists()
    nested = sponsor.must(
        "multisig",
        "create",
        "--threshold",
        "1",
        *member_options("v1"),
        "--out",
        str(tmp_path / "inner.json"),
        "--json",
    ).json["account"]
    said = sponsor.type("multisig", "create", "--threshold", "1", "--member", nested, "--out", out)
    assert "do not nest" in said.err


def test_changed_files_are_refused(people: dict[str, Person], account: Path, tmp_path: Path) -> None:
    sponsor, order = people["sponsor"], tmp_path / "order.json"
    offline = ("--chain-id", CHAIN_ID, "--sequence", "0", "--valid-until", "5000")
    values = ("transfer", f"to={text('v2')}", "amount=1")
    sponsor.must("multisig", "order", str(account), *values, *offline, "--out", str(order))
    people["v1"].must("multisig", "sign", str(order), "--yes")
    good = json.loads(order.read_text())
    other = good["order"].replace(key("v2").address.hex(), key("second").address.hex())
    assert other != good["order"]
    changes = (
        {"sequence": 1},
        {"valid_until": 6_000},
        {"chain_id": "elsewhere"},
        {"order": other},
        {"order": "c0"},
        {"order": "zz"},
        {"threshold": 1},
        {"threshold": 99},
        {"members": good["members"][:2]},
        {"members": [*good["members"][:2], good["members"][1]]},
        {"account": text("v2")},
        {"signatures": {text("sponsor"): next(iter(good["signatures"].values()))}},
        {"signatures": {text("v1"): "00" * 64}},
        {"signatures": {text("v1"): "00"}},
        {"format": "omnitensor/multisig-order/9"},
        {"strange": 1},
    )
    for change in changes:
        order.write_text(json.dumps(good | change))
        said = sponsor.type("multisig", "show", str(order), "--json")
        assert said.code != 0, change
        assert said.json["error"]["reason"], change
    for content in ("", "[]", "nonsense", "[" * 200, '{"format": 1}'):
        order.write_text(content)
        assert sponsor.type("multisig", "sign", str(order), "--yes").code == 2
    assert sponsor.type("multisig", "send", str(tmp_path / "absent.json")).code == 2


def test_orders_that_differ_are_not_combined(
    people: dict[str, Person], account: Path, tmp_path: Path
) -> None:
    sponsor, paths = people["sponsor"], [tmp_path / "a.json", tmp_path / "b.json"]
    for amount, path in zip(("1", "2"), paths, strict=True):
        offline = ("--chain-id", CHAIN_ID, "--sequence", "0", "--valid-until", "5000")
        sponsor.must(
            "multisig",
            "order",
            str(account),
            "transfer",
            f"to={text('v2')}",
            f"amount={amount}",
            *offline,
            "--out",
            str(path),
        )
    said = sponsor.type("multisig", "combine", *map(str, paths), "--out", str(tmp_path / "c.json"))
    assert (said.code, "different orders" in said.err) == (2, True)
