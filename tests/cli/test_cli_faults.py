"""How commands fail: one line that names the value and the remedy, an exit status, JSON where asked; and secrets stay secret."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from omnitensor.protocol.keys import SigningKey, format_api_key, format_secret
from omnitensor.sdk.home import Home, Profile
from tests.cli.people import Person, Said
from tests.sdk.samples import write_digits, write_texts
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-faults")

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def someone(tmp_path: Path, chain: SmallChain) -> Person:
    return Person(tmp_path / "someone", chain.endpoint).log_in("contributor")


@pytest.fixture(scope="module")
def campaign(chain: SmallChain, tmp_path_factory: pytest.TempPathFactory) -> str:
    sponsor = Person(tmp_path_factory.mktemp("sponsor"), chain.endpoint).log_in("sponsor")
    options = "--title T --unit-price 4 --review-fee 0.5 --budget 60 --item-bytes-max 50000 --preset economy"
    return str(sponsor.must("campaign", "open", "--yes", *options.split(), "--json").json["campaign"])


def check(said: Said, code: int, *named: str) -> None:
    """One line on standard error, `error: reason: value (remedy)`, and nothing on standard output."""
    assert said.code == code, said
    (line,) = [line for line in said.err.splitlines() if not line.startswith(("warning:", "note:"))]
    assert line.startswith("error: ")
    assert line.endswith(")"), "the remedy stands behind"
    for each in named:
        assert each in line
    assert said.out == ""
    assert "Traceback" not in said.err


def test_wrong_key(tmp_path: Path) -> None:
    for wrong in ("1234", "f" * 63, "omsk1qqqq", "zebra " * 12, "f" * 65):
        someone = Person(tmp_path / "x", NOWHERE)
        said = someone.type("login", "--key", wrong)
        assert said.code == 2
        assert wrong.strip() not in said.err
        assert said.err.startswith("error: ")
        assert not (tmp_path / "x").exists(), "nothing is half done"


def test_key_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    someone, secret = Person(tmp_path / "x", NOWHERE), "ab" * 32
    words = "legal winner thank year wave sausage worth useful legal winner thank yellow"
    for arguments in (
        ("login", secret),
        ("login", *words.split()),
        ("login", "--kye", secret),
        ("check-rewards", "--wallet", secret),
        ("check-rewards", secret),
        ("whoami", format_secret(SigningKey.generate())),
        ("transfer", "--to", format_api_key(SigningKey.generate()), "--amount", "1"),
    ):
        said = someone.type(*arguments)
        assert said.code != 0
        for part in arguments[1:]:
            if not part.startswith("--"):
                assert part not in re.split(r"[^a-z0-9]+", said.err + said.out), arguments


def test_wrong_files(someone: Person, campaign: str, tmp_path: Path) -> None:
    upload = ("upload-data", "--task-id", campaign, "--file")
    check(someone.type(*upload, str(tmp_path / "absent")), 2, "no such file", "absent")
    empty, large, binary = tmp_path / "empty.txt", tmp_path / "large.txt", tmp_path / "binary"
    empty.touch()
    large.write_text("word " * 20_000)
    binary.write_bytes(bytes(range(256)))
    (picture,) = write_digits(tmp_path, 1)
    check(someone.type(*upload, str(empty)), 2, "the file is empty", "empty.txt")
    check(someone.type(*upload, str(large)), 2, "over the campaign's limit of 50000", "large.txt")
    check(someone.type(*upload, str(binary)), 2, "neither a known format nor")
    check(someone.type(*upload, str(picture)), 2, "does not take image/png", "text/plain")
    check(someone.type("upload-data", "--task-id", campaign), 2, "--file")


def test_wrong_tasks(someone: Person, tmp_path: Path) -> None:
    (path,) = write_texts(tmp_path, 1)
    for task in ("77777", "abc"):
        check(someone.type("upload-data", "--task-id", task, "--file", str(path)), 1, task, "campaign list")
        check(someone.type("check-status", "--task-id", task), 1, task)
        check(someone.type("campaign", "show", task), 1, task)


def test_no_money(chain: SmallChain, campaign: str, tmp_path: Path) -> None:
    poor = Person(tmp_path / "poor", chain.endpoint)
    poor.must("login", "--new")
    (path,) = write_texts(tmp_path, 1)
    check(poor.type("upload-data", "--task-id", campaign, "--file", str(path)), 1, "0 OMNIT", "send at least")
    check(poor.type("transfer", "--to", address("v0"), "--amount", "1"), 1, "0 OMNIT", "send at least")
    check(poor.type("stake", "show"), 1, "validator")


def test_closed_campaign(chain: SmallChain, someone: Person, tmp_path: Path) -> None:
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    options = "--title T --unit-price 4 --review-fee 0.5 --budget 60"
    number = str(sponsor.must("campaign", "open", "--yes", *options.split(), "--json").json["campaign"])
    sponsor.must("campaign", "close", number)
    (path,) = write_texts(tmp_path, 1)
    check(someone.type("upload-data", "--task-id", number, "--file", str(path)), 1, "closed", number)
    check(sponsor.type("campaign", "close", number), 1, "closed")
    check(someone.type("campaign", "fund", number, "--amount", "1"), 1, "only its sponsor")


def test_amounts(someone: Person) -> None:
    for wrong in ("much", "-1", "1.0000000001", "1e9", "9" * 30, "0x10", ""):
        said = someone.type("transfer", "--to", address("v0"), f"--amount={wrong}")
        check(said, 2)
    check(someone.type("transfer", "--to", address("v0"), "--amount", "0"), 2, "above zero")
    check(someone.type("transfer", "--to", "omnit1nonsense", "--amount", "1"), 2, "omnit1nonsense")


def test_no_connection(tmp_path: Path) -> None:
    someone = Person(tmp_path / "x", NOWHERE)
    someone.must("login", "--key", format_secret(key("second")))
    for arguments in (("whoami",), ("check-status", "--task-id", "1")):
        check(someone.type(*arguments), 3, NOWHERE, "connection refused", "--endpoint")
    check(someone.type("status", "--endpoint", "nonsense"), 2, "nonsense")


def test_wrong_chain(chain: SmallChain, someone: Person, tmp_path: Path) -> None:
    """Logged in on one chain, a node of another is refused, before anything is signed."""
    home = Home(someone.folder)
    profile = home.profile()
    assert profile.chain_id == "small-chain", "the first node that was met is remembered"
    home.save_profile(Profile(profile.endpoint, profile.account, profile.protected, "other-chain", "00" * 32))
    submits = len(chain.submitted)
    check(someone.type("transfer", "--to", address("v0"), "--amount", "1"), 1, "other-chain", "small-chain")
    check(someone.type("whoami"), 1, "log in again")
    assert len(chain.submitted) == submits
    someone.log_in("contributor")
    assert someone.type("whoami").code == 0


def test_not_logged_in(tmp_path: Path, chain: SmallChain) -> None:
    nobody = Person(tmp_path / "nobody", chain.endpoint)
    for arguments in (
        ("whoami",),
        ("logout",),
        ("check-rewards",),
        ("transfer", "--to", address("v0"), "--amount", "1"),
    ):
        check(nobody.type(*arguments), 2, "nobody is logged in", "login")


def test_usage(someone: Person) -> None:
    for arguments in (
        ("no-such",),
        ("campaign", "no-such"),
        ("check-status",),
        ("tx", "show", "xyz"),
        ("login", "--key"),
    ):
        said = someone.type(*arguments)
        assert said.code == 2
        assert len(said.err.splitlines()) == 1
    check(someone.type("review", "run"), 2, "--auto")
    check(someone.type("campaign", "open", "--title", "x"), 2, "--unit-price")


def test_errors_as_json(someone: Person, tmp_path: Path) -> None:
    for arguments, code, status in (
        (("check-status", "--task-id", "77777", "--json"), "not_found", 1),
        (("--json", "check-status", "--task-id", "77777"), "not_found", 1),
        (("whoami", "--json", "--endpoint", NOWHERE), "connection", 3),
        (("transfer", "--to", "x", "--amount", "1", "--json"), "key", 2),
        (("no-such", "--json"), "usage", 2),
    ):
        said = someone.type(*arguments)
        assert said.code == status
        assert said.err == ""
        error = said.json["error"]
        assert error["code"] == code
        assert set(error) == {"code", "reason", "value", "remedy"}


# -- the key's rest on this machine


def test_passphrase(tmp_path: Path, chain: SmallChain) -> None:
    passphrase, wrong = tmp_path / "passphrase", tmp_path / "wrong"
    for path, text in ((passphrase, "correct horse\n"), (wrong, "battery\n")):
        path.write_text(text)
        path.chmod(0o600)
    someone = Person(tmp_path / "x", chain.endpoint)
    secret = format_secret(key("second"))
    said = someone.must("login", "--key-file", "-", "--passphrase-file", str(passphrase), given=secret)
    assert "without a passphrase" not in said.err
    assert secret not in said.out + said.err
    keystore = someone.folder / "keystore.json"
    assert stat.S_IMODE(keystore.stat().st_mode) == 0o600
    assert key("second").seed.hex() not in keystore.read_text()
    pay = ("transfer", "--to", address("v0"), "--amount", "1")
    assert someone.must("whoami", "--json").json["protected"] is True
    check(someone.type(*pay), 2, "no terminal", "--passphrase-file")
    check(someone.type(*pay, "--passphrase-file", str(wrong)), 1, "password does not open")
    someone.must(*pay, "--passphrase-file", str(passphrase))
    someone.variables["OMNITENSOR_PASSPHRASE_FILE"] = str(passphrase)
    someone.must(*pay)
    passphrase.chmod(0o644)
    check(someone.type(*pay), 1, "others than its owner")


def test_key_file(tmp_path: Path) -> None:
    someone, path = Person(tmp_path / "x", NOWHERE), tmp_path / "key"
    path.write_text("  0x" + key("second").seed.hex() + "\n")
    path.chmod(0o644)
    check(someone.type("login", "--key-file", str(path)), 1, "chmod 600")
    path.chmod(0o600)
    said = someone.must("login", "--key-file", str(path), "--json")
    assert said.json["address"] == address("second")
    assert "may remember" not in said.err
    check(someone.type("login", "--key-file", str(tmp_path / "absent")), 2, "absent")
    assert someone.type("login", "--key", "x", "--key-file", "y").code == 2
    check(someone.type("login"), 2, "no key was given")


def test_no_passphrase_says_so_and_logout_removes_it(tmp_path: Path, chain: SmallChain) -> None:
    someone = Person(tmp_path / "x", chain.endpoint)
    said = someone.must("login", "--no-passphrase", "--key-file", "-", given=format_secret(key("second")))
    assert "without a passphrase" in said.err
    for path in someone.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(someone.folder.stat().st_mode) == 0o700
    check(someone.type("logout"), 2, "--yes")
    someone.must("logout", "--yes")
    assert not (someone.folder / "keystore.json").exists()
    check(someone.type("whoami"), 2, "nobody is logged in")


def test_another_login_keeps_the_former_key(tmp_path: Path) -> None:
    someone = Person(tmp_path / "x", NOWHERE).log_in("second")
    said = someone.must("login", "--key", format_secret(key("contributor")))
    assert "former account is kept" in said.err
    kept = someone.folder / f"keystore-{address('second')}.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    someone.log_in("contributor")
    assert len(list(someone.folder.glob("keystore*.json"))) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folder_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    someone = Person(tmp_path / "closed" / "x", NOWHERE)
    check(someone.type("login", "--key", format_secret(key("second"))), 1, "--home")


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    someone = Person(tmp_path / "file", NOWHERE)
    check(someone.type("login", "--key", format_secret(key("second"))), 1, "OMNITENSOR_HOME")


def address(name: str) -> str:
    from omnitensor.protocol.keys import format_address

    return format_address(key(name).address)
