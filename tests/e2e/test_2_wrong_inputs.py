"""What people get wrong at the command line: each time a clear error that names value and remedy, and nothing half done."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from deploy.devnet import calls, cast, process
from deploy.devnet.campaigns import Wish
from deploy.devnet.net import Net, Plan
from deploy.devnet.people import Person
from omnitensor.protocol.keys import SigningKey, format_api_key, format_secret
from omnitensor.protocol.types import NANO
from tests.e2e.town import Town

pytestmark = pytest.mark.xdist_group("e2e")

SMALL = 4_096
"""Bytes that the campaign of these tests takes at the most."""
ABSENT = 999_999

REFUSED, USAGE, NO_CONNECTION = 1, 2, 3


def expect(done: CompletedProcess[str], *named: str, code: int | None = None) -> None:
    """An error in one line that names things, with a remedy in brackets, and an exit code that is not zero."""
    assert done.returncode in ((REFUSED, USAGE, NO_CONNECTION) if code is None else (code,)), done
    assert "Traceback" not in done.stderr + done.stdout
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    for name in named:
        assert name in line, f"{name!r} is not in: {line}"
    assert line.endswith(")"), f"no remedy in: {line}"


@pytest.fixture(scope="module")
def campaign(town: Town) -> int:
    """A small campaign for texts of a few kilobytes."""
    wish = Wish("Small texts", "language: en", ("text/plain",), "1", budget="100", item_bytes_max=SMALL)
    return cast.open_campaign(town.person("sponsor"), wish, town.folder / "small.toml")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """An honest file, another for each test."""
    path = tmp_path / "honest.txt"
    path.write_text(f"An honest text of some words, written for {tmp_path.name}.\n" * 3, encoding="utf-8")
    return path


@pytest.fixture
def contributor(town: Town) -> Person:
    return town.person("contributor")


@pytest.fixture
def unchanged(town: Town, campaign: int) -> Iterator[None]:
    """Nothing is half done: neither account nor campaign moved by what a test got wrong."""

    def world() -> list[Any]:
        names = ("contributor", "second", "pauper", "sponsor")
        accounts = [town.first.call("account.get", address=town.net.address(name)) for name in names]
        # What is under way in other campaigns may still be paid; nonces tell whether anything was sent.
        nonces = [(each["nonce"], each["next_nonce"]) for each in accounts]
        return [nonces, town.first.call("campaign.get", campaign=campaign), town.items(campaign)]

    before = world()
    yield
    assert world() == before


@pytest.mark.usefixtures("unchanged")
class TestUpload:
    def upload(self, who: Person, campaign: int | str, *paths: Path) -> CompletedProcess[str]:
        files = [part for path in paths for part in ("--file", str(path))]
        return who.try_cli("upload-data", "--task-id", str(campaign), *files)

    def test_unknown_task(self, contributor: Person, text: Path) -> None:
        expect(self.upload(contributor, ABSENT, text), str(ABSENT))

    def test_task_that_is_no_number(self, contributor: Person, text: Path) -> None:
        expect(self.upload(contributor, "dogs", text), "dogs")

    def test_absent_file(self, contributor: Person, campaign: int, tmp_path: Path) -> None:
        expect(self.upload(contributor, campaign, tmp_path / "no-such.txt"), "no-such.txt")

    def test_empty_file(self, contributor: Person, campaign: int, tmp_path: Path) -> None:
        empty = tmp_path / "empty.txt"
        empty.touch()
        expect(self.upload(contributor, campaign, empty), "empty.txt", "empty")

    def test_file_over_the_limit(self, contributor: Person, campaign: int, tmp_path: Path) -> None:
        large = tmp_path / "large.txt"
        large.write_text("many words " * SMALL, encoding="utf-8")
        expect(self.upload(contributor, campaign, large), "large.txt", f"{SMALL:,}".replace(",", ""))

    def test_file_of_another_kind(self, contributor: Person, campaign: int, tmp_path: Path) -> None:
        picture = tmp_path / "picture.txt"
        picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        expect(self.upload(contributor, campaign, picture), "picture.txt")

    def test_one_wrong_file_among_good_ones(
        self, contributor: Person, campaign: int, text: Path, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty.txt"
        empty.touch()
        expect(self.upload(contributor, campaign, text, empty), "empty.txt")

    def test_no_money(self, town: Town, campaign: int, text: Path) -> None:
        expect(self.upload(town.person("pauper"), campaign, text), town.net.address("pauper"), "OMNIT")

    def test_not_logged_in(self, town: Town, campaign: int, text: Path) -> None:
        expect(self.upload(town.stranger("nobody"), campaign, text), "login")


class TestKeys:
    @pytest.mark.parametrize("key", ["", "0x12", "hello", "omsk1qqqq", "abandon " * 12, "g" * 64])
    def test_wrong_key(self, town: Town, key: str) -> None:
        stranger = town.stranger("wrong-key")
        done = stranger.try_cli("login", "--key", key)
        expect(done)
        if len(key) > 4:
            assert key.strip() not in done.stderr, "a mistyped key is nearly a key"
        assert not (stranger.folder / "keystore.json").exists()

    def test_api_key_for_a_private_key(self, town: Town) -> None:
        key = format_api_key(SigningKey.generate())
        done = town.stranger("wrong-kind").try_cli("login", "--key", key)
        expect(done)
        assert key not in done.stderr

    def test_unknown_api_key(self, town: Town) -> None:
        code = (
            "from omnitensor.sdk import Validator\n"
            f"Validator(api_key='{format_api_key(SigningKey.generate())}').get_data_batch(task_id='1234')\n"
        )
        done = run_python(town, code)
        assert done.returncode == 1
        assert "the API key is of no account of this chain" in done.stderr
        assert "api-key create" in done.stderr

    def test_api_key_cannot_spend(self, town: Town) -> None:
        """A key for reviewing signs a transfer: the chain takes neither."""
        api_key = town.api_keys[town.nodes[0].name].read_text().strip()
        before = town.balance(town.nodes[0].name)
        code = (
            "from omnitensor.sdk import Client, Wallet\n"
            f"Client().transfer(Wallet.from_api_key('{api_key}'), '{town.net.address('pauper')}', 1)\n"
        )
        done = run_python(town, code)
        assert done.returncode == 1
        assert api_key not in done.stderr
        assert town.balance(town.nodes[0].name) >= before

    def test_wrong_address(self, town: Town) -> None:
        address = town.net.address("pauper")
        wrong = address[:-1] + ("q" if address[-1] != "q" else "p")
        expect(town.stranger("looker").try_cli("check-rewards", "--wallet", wrong), wrong)


def run_python(town: Town, code: str) -> CompletedProcess[str]:

    extra = {"OMNITENSOR_RPC": town.first.endpoint, "OMNITENSOR_HOME": str(town.folder / "python")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=process.environment(extra),
        capture_output=True,
        text=True,
        timeout=process.RUN_SECONDS_MAX,
        check=False,
    )


class TestCampaigns:
    def test_more_than_the_sponsor_has(self, town: Town) -> None:
        wish = Wish("Too much", "", ("text/plain",), "1", budget="999999")
        path = wish.write(town.folder / "too-much.toml")
        nonce = town.first.call("account.get", address=town.net.address("sponsor"))["nonce"]
        expect(
            town.person("sponsor").try_cli("campaign", "open", "--yes", "--from", str(path)), "needs 999,999."
        )
        assert town.first.call("account.get", address=town.net.address("sponsor"))["nonce"] == nonce

    def test_every_fault_of_a_file_in_a_line_of_its_own(self, town: Town) -> None:
        path = Wish("Faults", "", ("text/plain",), "1", budget="much").write(town.folder / "faults.toml")
        path.write_text(path.read_text() + 'colour = "red"\nfirst_seats = 99\n')
        nonce = town.first.call("account.get", address=town.net.address("sponsor"))["nonce"]
        for command in (("open", "--yes"), ("estimate",)):
            done = town.person("sponsor").try_cli("campaign", *command, "--from", str(path))
            expect(done, str(path), "line 8", "budget", "much", code=USAGE)
            errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 3, errors
            assert "colour" in errors[1]
            assert "first_seats" in errors[2]
            assert all(line.endswith(")") for line in errors)
        assert town.first.call("account.get", address=town.net.address("sponsor"))["nonce"] == nonce

    def test_opening_that_nobody_confirmed(self, town: Town) -> None:
        path = Wish("Unconfirmed", "", ("text/plain",), "1").write(town.folder / "unconfirmed.toml")
        nonce = town.first.call("account.get", address=town.net.address("sponsor"))["nonce"]
        done = town.person("sponsor").try_cli("campaign", "open", "--from", str(path))
        expect(done, "Unconfirmed", "--yes", code=USAGE)
        assert town.first.call("account.get", address=town.net.address("sponsor"))["nonce"] == nonce

    def test_wrong_gold(self, town: Town, campaign: int, tmp_path: Path) -> None:
        sponsor, before = town.person("sponsor"), town.first.call("campaign.get", campaign=campaign)
        nonce = town.first.call("account.get", address=town.net.address("sponsor"))["nonce"]
        (tmp_path / "answers.csv").write_text("path,pass\nabsent.txt,1\n")
        (tmp_path / "stray.txt").write_text("a text without an answer")
        gold = ("gold", "run", "--task-id", str(campaign))
        expect(sponsor.try_cli(*gold), "no gold yet", code=USAGE)
        expect(
            sponsor.try_cli(*gold, "--from", str(tmp_path)), "answers.csv, line 2", "absent.txt", code=USAGE
        )
        (tmp_path / "answers.csv").write_text("path,pass\nstray.txt,1\n")
        own = ("--from", str(tmp_path), "--hand-in-home", str(sponsor.folder))
        expect(sponsor.try_cli(*gold, *own), "known for gold", code=USAGE)
        expect(
            sponsor.try_cli("gold", "check", "--task-id", str(ABSENT), "--from", str(tmp_path)), str(ABSENT)
        )
        assert town.first.call("campaign.get", campaign=campaign) == before
        assert town.first.call("account.get", address=town.net.address("sponsor"))["nonce"] == nonce

    def test_reports_of_nothing(self, town: Town) -> None:
        looker = town.stranger("looker")
        for command in ("watch", "spend", "agreement"):
            expect(looker.try_cli("campaign", command, str(ABSENT)), str(ABSENT), code=REFUSED)
        expect(looker.try_cli("report", "contributor"), "login", code=USAGE)
        expect(looker.try_cli("report", "reviewer", "--validator", "omnit1x"), "omnit1x", code=USAGE)

    def test_closing_somebody_elses(self, town: Town, campaign: int) -> None:
        expect(town.person("contributor").try_cli("campaign", "close", str(campaign)), str(campaign))

    def test_closed_campaign(self, town: Town, campaign: int, text: Path) -> None:
        town.person("sponsor").cli("campaign", "close", str(campaign))
        before = town.first.call("account.get", address=town.net.address("contributor"))["nonce"]
        done = town.person("contributor").try_cli(
            "upload-data", "--task-id", str(campaign), "--file", str(text)
        )
        expect(done, str(campaign), "closed")
        assert town.first.call("account.get", address=town.net.address("contributor"))["nonce"] == before
        escrow = town.first.call("campaign.get", campaign=campaign)["escrow"]
        assert {int(amount) for amount in escrow.values()} == {0}, "the sponsor has the rest back"

    def test_register_below_the_least_stake(self, town: Town) -> None:
        before = town.balance("second")
        done = town.person("second").try_cli(
            "validator", "register", "--stake", "10", "--name", "small", *node_keys(town)
        )
        expect(done, "32,000 OMNIT")
        # The chain refused it, so the fee is spent, and nothing else.
        assert before - town.balance("second") < NANO // 1_000
        with pytest.raises(calls.CallError, match="not_found"):
            town.first.call("stake.validator", address=town.net.address("second"))


def node_keys(town: Town) -> list[str]:
    """Options that name a consensus key for `validator register`: of a node that is not of the net."""
    home = town.folder / "fifth"
    if home.exists():
        shutil.rmtree(home)
    made = process.run(process.NODE, "keys", "create", "--home", str(home))
    assert made.returncode == 0, made.stderr
    public = json.loads(made.stdout)
    return [
        *("--consensus-key", public["consensus_key"]),
        *("--proof", public["proof_of_possession"]),
    ]


class TestNodes:
    def test_nobody_there(self, town: Town, text: Path) -> None:
        contributor = Person("contributor", town.person("contributor").folder, "http://127.0.0.1:9")
        expect(contributor.try_cli("check-status", "--task-id", "1234"), "127.0.0.1:9", code=NO_CONNECTION)

    def test_endpoint_that_is_none(self, town: Town) -> None:
        contributor = Person("contributor", town.person("contributor").folder, "ftp://somewhere")
        expect(contributor.try_cli("check-status", "--task-id", "1234"), "ftp://somewhere")

    def test_another_chain(self, town: Town, text: Path) -> None:
        """Logged in on one chain, pointed at another: nothing is sent there."""
        with Net.create(
            town.folder / "elsewhere", Plan(chain_id="omnitensor-elsewhere", validators=1)
        ) as net:
            net.start()
            net.wait_ready()
            astray = Person("contributor", town.person("contributor").folder, net.nodes[0].endpoint)
            done = astray.try_cli("upload-data", "--task-id", "1234", "--file", str(text))
            expect(done, "omnitensor-elsewhere")
            account = net.nodes[0].call("account.get", address=town.net.address("contributor"))
            assert int(account["nonce"]) == 0

    def test_start_without_init(self, tmp_path: Path) -> None:
        done = process.run(process.NODE, "start", "--home", str(tmp_path / "nothing"))
        assert done.returncode == 1
        assert str(tmp_path / "nothing") in done.stderr
        assert "Traceback" not in done.stderr

    def test_unknown_setting(self, town: Town, tmp_path: Path) -> None:
        (tmp_path / "config.toml").write_text("[rpc]\nlisen = '127.0.0.1:1'\n")
        done = process.run(process.NODE, "start", "--home", str(tmp_path))
        assert done.returncode == 1
        assert "rpc.lisen" in done.stderr

    def test_key_that_others_can_read(self, town: Town, tmp_path: Path) -> None:
        home = tmp_path / "open"
        process.run(process.NODE, "keys", "create", "--home", str(home))
        secret = home / "keys" / "identity.secret"
        secret.chmod(0o644)
        done = process.run(process.NODE, "keys", "show", "--home", str(home))
        assert done.returncode == 1
        assert str(secret) in done.stderr
        assert "chmod 600" in done.stderr


def test_secrets_are_in_no_log(town: Town) -> None:
    """Of everybody's keys and API keys, nothing is in any log or argument list that is left."""
    secrets = [format_secret(key) for key in town.net.accounts.values()]
    secrets += [key.seed.hex() for key in town.net.accounts.values()]
    secrets += [path.read_text().strip() for path in town.api_keys.values()]
    logs = [program.tail(10**9) for program in (*town.nodes, *town.reviewers.values())]
    assert all(log for log in logs)
    assert not [secret[:8] for secret in secrets if any(secret in log for log in logs)]
    for path in town.net.folder.rglob("*"):
        if path.is_file() and path.suffix in (".key", ".secret", ".password"):
            assert path.stat().st_mode & 0o077 == 0, path
