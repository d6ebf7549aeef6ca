"""The commands against a real chain: the documented four and what is around them, for people and for programs."""

from __future__ import annotations

import shlex
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from omnitensor.protocol.keys import SigningKey, format_address, format_secret, parse_secret
from omnitensor.protocol.types import NANO
from tests.cli.people import Person
from tests.sdk.samples import write_digits, write_texts
from tests.sdk.small_chain import SmallChain
from tests.shared_data import shared_path
from tests.state.chain_fixtures import genesis_validator, key

pytestmark = pytest.mark.xdist_group("cli-commands")

COMMANDS = (
    "otensor-cli login --key <your_private_key>",
    "otensor-cli upload-data --task-id <task_id> --file <data_file_path>",
    "otensor-cli check-status --task-id <task_id>",
    "otensor-cli check-rewards --wallet <wallet_address>",
)
SNIPPET = """\
from omnitensor.sdk import Validator

# Initialize validator session
validator = Validator(api_key='YOUR_API_KEY')

# Fetch the data batch to validate
data_batch = validator.get_data_batch(task_id='1234')

# Perform validation checks (e.g., accuracy, format)
validation_results = validator.validate(data_batch)

# Submit validation report to OmniTensor
validator.submit_results(validation_results)
"""
CAMPAIGN = (
    "campaign open --yes --title Documentation --media text/plain --unit-price 4 --review-fee 0.5 --item-bond 0.2"
    " --budget 400 --preset economy --seats 4"
)


def person(tmp_path: Path, chain: SmallChain, name: str) -> Person:
    return Person(tmp_path / name, chain.endpoint).log_in(name)


@pytest.fixture
def campaign(tmp_path: Path) -> list[str]:
    """Arguments that open a campaign without audits: a second round by lot would want reviewers who have gone home."""
    file = tmp_path / "campaign.toml"
    file.write_text("audit_bps = 0\n", encoding="utf-8")
    return [*CAMPAIGN.split(), "--file", str(file)]


def typed(line: str, **values: str) -> list[str]:
    for name, value in values.items():
        line = line.replace(f"<{name}>", value)
    assert "<" not in line
    return shlex.split(line)[1:]


def test_documentation_has_these_words() -> None:
    document = shared_path("seed/data-collection-and-validation.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in document if line.startswith("otensor-cli ")] == list(COMMANDS)
    assert [line for line in SNIPPET.splitlines() if line not in document] == []


@pytest.mark.timeout(1_800)
def test_documented_commands_and_snippet(chain: SmallChain, campaign: list[str], tmp_path: Path) -> None:
    """Word for word, each as a program of its own, without a terminal: they ask nothing and reach the payment."""
    sponsor = person(tmp_path, chain, "sponsor")
    assert sponsor.must(*campaign, "--json").json["campaign"] == 1234
    reviewers = []
    for name in ("v0", "v1", "v2", "v3"):
        created = person(tmp_path, chain, name).must("api-key", "create", "--json").json
        environment = Person(tmp_path / f"{name}-sdk", chain.endpoint).environment
        code = SNIPPET.replace("YOUR_API_KEY", created["api_key"])
        reviewers.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    secret = format_secret(key("contributor"))
    address = format_address(key("contributor").address)
    contributor = Person(tmp_path / "contributor", chain.endpoint)
    login, upload, status, rewards = COMMANDS
    said = contributor.program(*typed(login, your_private_key=secret))
    assert said.code == 0
    assert f"logged in as {address}" in said.out
    assert secret not in said.out + said.err
    assert "may remember the key" in said.err
    assert "without a passphrase" in said.err
    (path,) = write_texts(tmp_path / "data", 1)
    said = contributor.program(*typed(upload, task_id="1234", data_file_path=str(path)))
    assert said.code == 0, said.err
    assert "1 item submitted to campaign 1234" in said.out
    for reviewer in reviewers:
        output, _ = reviewer.communicate(timeout=600)
        assert reviewer.returncode == 0, output
        assert output == ""
    chain.until(
        lambda: (
            contributor.must(*typed(status, task_id="1234"), "--json").json["items"][0]["status"] == "paid"
        )
    )
    said = contributor.program(*typed(status, task_id="1234"))
    assert path.name in said.out
    said = contributor.program(*typed(rewards, wallet_address=address))
    assert said.code == 0
    assert address in said.out
    assert "contribution" in said.out
    found = contributor.must("check-rewards", "--json").json
    assert float(found["total"]) > 0
    assert found["items"]["accepted"] == 1


def test_upload_folder_and_status_as_json(chain: SmallChain, campaign: list[str], tmp_path: Path) -> None:
    sponsor = person(tmp_path, chain, "sponsor")
    pictures = [word.replace("text/plain", "image/*") for word in campaign]
    number = str(sponsor.must(*pictures, "--json").json["campaign"])
    contributor = person(tmp_path, chain, "second")
    paths = write_digits(tmp_path / "digits", 3)
    (tmp_path / "digits" / ".DS_Store").write_bytes(b"\0")
    said = contributor.must(
        "upload-data", "--task-id", number, "--file", str(tmp_path / "digits"), "--json"
    ).json
    (submission,) = said["submissions"]
    assert [Path(item["file"]).name for item in submission["items"]] == [path.name for path in paths]
    assert all(
        item["cid"].startswith("bafkrei") and item["media_type"] == "image/png"
        for item in submission["items"]
    )
    status = contributor.must("check-status", "--task-id", number, "--json").json
    assert {item["item"] for item in status["items"]} == {item["item"] for item in submission["items"]}
    assert status["unfinished"] == []
    assert contributor.must("tx", "show", submission["reveal_tx"], "--json").json["receipt"]["code"] == "ok"
    shown = contributor.must("tx", "show", submission["reveal_tx"])
    assert "submission_reveal" in shown.out
    stranger = Person(tmp_path / "stranger", chain.endpoint)
    everything = stranger.must("check-status", "--task-id", number)
    assert "digit-0.png" not in everything.out, "names of files are known on their own machine alone"
    target = tmp_path / "brought.png"
    line = ("download-data", "--item", str(submission["items"][1]["item"]), "--to", str(target))
    said = stranger.must(*line)
    assert target.read_bytes() == paths[1].read_bytes()
    assert f"{target.stat().st_size} bytes, image/png" in said.out
    twice = stranger.type(*line)
    assert (twice.code, "name a new file" in twice.err) == (2, True)
    nobody = stranger.type("download-data", "--item", "99999", "--to", str(tmp_path / "nothing"))
    assert (nobody.code, "no such item" in nobody.err) == (1, True), nobody.err
    assert not (tmp_path / "nothing").exists()
    again = contributor.type("upload-data", "--task-id", number, "--file", str(tmp_path / "digits"))
    assert (again.code, "submitted to campaign" in again.err) == (2, True)


def test_the_same_bytes_under_another_name_leave_the_name_of_the_earlier_item(
    chain: SmallChain, campaign: list[str], tmp_path: Path
) -> None:
    sponsor = person(tmp_path, chain, "sponsor")
    number = str(sponsor.must(*campaign, "--json").json["campaign"])
    contributor = person(tmp_path, chain, "second")
    first, second = write_texts(tmp_path / "texts", 2)
    copy = tmp_path / "the-copy.txt"
    copy.write_bytes(first.read_bytes())
    contributor.must("upload-data", "--task-id", number, "--file", str(first), "--file", str(second))
    contributor.must("upload-data", "--task-id", number, "--file", str(copy))
    shown = contributor.must("check-status", "--task-id", number).out
    assert [shown.count(path.name) for path in (first, second, copy)] == [1, 1, 1], shown


def test_campaign_commands(chain: SmallChain, tmp_path: Path) -> None:
    sponsor = person(tmp_path, chain, "sponsor")
    toml = tmp_path / "campaign.toml"
    toml.write_text(
        'title = "Owls \\u001b[31m"\nunit_price = "2"\nreview_fee = "0.5"\nbudget = "50"\nmedia = ["image/*"]\n'
        'instructions = "language: en"\n'
    )
    opened = sponsor.must("campaign", "open", "--yes", "--file", str(toml), "--budget", "70").out
    assert "with a budget of 70 OMNIT" in opened
    number = opened.split()[1]
    shown = sponsor.must("campaign", "show", number)
    assert "70 OMNIT" in shown.out
    assert "\x1b" not in shown.out, "a title does not steer the terminal"
    assert "10 OMNIT added" in sponsor.must("campaign", "fund", number, "--amount", "10").out
    found = sponsor.must("campaign", "show", number, "--json").json
    assert found["escrow"]["available"] == "80"
    assert found["spec"]["unit_price"] == "2"
    listed = sponsor.must("campaign", "list", "--json", "--status", "open").json["campaigns"]
    assert int(number) in [each["campaign"] for each in listed]
    assert number in sponsor.must("campaign", "list").out
    before = chain.balance("sponsor")
    assert "takes no more submissions" in sponsor.must("campaign", "close", number).out
    assert sponsor.must("campaign", "show", number, "--json").json["status"] == "closed"
    assert chain.balance("sponsor") > before + 79 * NANO, "what was not spent came back"


def test_stake_and_validators(chain: SmallChain, tmp_path: Path) -> None:
    validator = person(tmp_path, chain, "v2")
    before = validator.must("stake", "show", "--json").json
    assert "5 OMNIT added" in validator.must("stake", "add", "--amount", "5").out
    assert float(validator.must("stake", "show", "--json").json["stake"]) == float(before["stake"]) + 5
    assert "on its way out" in validator.must("stake", "withdraw", "--amount", "3").out
    shown = validator.must("stake", "show")
    assert "unbonding at height" in shown.out
    assert "attendance in epoch 0" in shown.out
    refused = validator.type("validator", "unjail")
    assert refused.code == 1
    assert "not in jail" in refused.err
    listed = validator.must("validator", "list", "--json").json["validators"]
    assert {each["name"] for each in listed} >= {"v0", "v1", "v2", "v3"}
    assert "v3" in validator.must("validator", "list").out


def test_register_a_validator(chain: SmallChain, tmp_path: Path) -> None:
    """The consensus key comes from the node's keystore with its password beside it; a wrong proof is refused here."""
    from omnitensor.protocol import bls, keystore
    from omnitensor.protocol.private_files import write_private

    newcomer = SigningKey.generate()
    address = format_address(newcomer.address)
    someone = Person(tmp_path / "newcomer", chain.endpoint)
    someone.must("login", "--key-file", "-", given=format_secret(newcomer) + "\n")
    sponsor = person(tmp_path, chain, "sponsor")
    sponsor.must("transfer", "--to", address, "--amount", "40")
    secret = bls.keygen(b"a newcomer's consensus key, 32 bytes or more")
    write_private(tmp_path / "consensus.json", keystore.encrypt_bls(secret, "pass", scrypt_n=2**10))
    write_private(tmp_path / "consensus.password", b"pass\n")
    register = ("validator", "register", "--name", "newcomer", "--stake")
    said = someone.type(*register, "30", "--consensus-keystore", str(tmp_path / "consensus.json"))
    assert said.code == 1
    assert "32,000 OMNIT" in said.err or "stake" in said.err
    other = genesis_validator("v0")
    said = someone.type(
        *register,
        "30",
        "--consensus-key",
        bls.sk_to_pk(secret).hex(),
        "--proof",
        other.proof_of_possession.hex(),
    )
    assert (said.code, "proof of possession" in said.err) == (2, True)
    assert someone.type(*register, "30").code == 2


def test_api_keys(chain: SmallChain, tmp_path: Path) -> None:
    owner = person(tmp_path, chain, "second")
    out = tmp_path / "api-key"
    said = owner.must("api-key", "create", "--scope", "review", "--scope", "upload", "--out", str(out))
    assert "otk1" not in said.out
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_text().startswith("otk1")
    (listed,) = owner.must("api-key", "list", "--json").json["session_keys"]
    assert sorted(listed["scopes"]) == ["review", "upload"]
    assert listed["allowance"] == "100"
    assert "no seats" in owner.must("review", "list", "--api-key-file", str(out)).out
    assert "revoked" in owner.must("api-key", "revoke", listed["key"]).out
    assert "no API keys" in owner.must("api-key", "list").out
    revoked = owner.type("review", "run", "--auto", "--api-key-file", str(out))
    assert (revoked.code, "was revoked" in revoked.err) == (1, True)
    wrong = owner.type("api-key", "create", "--allowance", "much", "--out", str(tmp_path / "never"))
    assert (wrong.code, "not an amount" in wrong.err, (tmp_path / "never").exists()) == (2, True, False)
    mean = owner.must("api-key", "create", "--allowance", "0", "--json").json
    assert mean["allowance"] == "0"
    assert owner.must("api-key", "revoke", mean["key"]).code == 0
    shown = owner.must("api-key", "create", "--allowance", "1.5").out
    assert "may spend 1.5 OMNIT" in shown
    assert sum(line.startswith("otk1") for line in shown.splitlines()) == 1
    assert owner.must("api-key", "revoke", "-", given=shown.splitlines()[-1]).code == 0


def test_transfer_whoami_status(chain: SmallChain, tmp_path: Path) -> None:
    sender = person(tmp_path, chain, "second")
    to = format_address(SigningKey.generate().address)
    assert "1,000.5 OMNIT sent to" in sender.must("transfer", "--to", to, "--amount", "1,000.5").out
    assert sender.must("check-rewards", "--wallet", to, "--json").json["balance"] == "1000.5"
    who = sender.must("whoami", "--json").json
    assert (who["address"], who["chain_id"], who["protected"]) == (
        format_address(key("second").address),
        "small-chain",
        False,
    )
    assert who["address"] in sender.must("whoami").out
    assert sender.must("status", "--json").json["chain_id"] == "small-chain"
    assert "up to date" in Person(tmp_path / "nobody", chain.endpoint).must("status").out


@pytest.mark.timeout(1_800)
def test_review_by_hand_and_by_loop(chain: SmallChain, campaign: list[str], tmp_path: Path) -> None:
    """Three reviewers run the loop with a scorer of their own, one gives scores from a file."""
    sponsor = person(tmp_path, chain, "sponsor")
    number = str(sponsor.must(*campaign, "--json").json["campaign"])
    scorer = tmp_path / "judge.py"
    scorer.write_text("def score(item):\n    return {'accuracy': 77, 'reasons': ['as I see it']}\n")
    loops = []
    for name in ("v0", "v1", "v2"):
        reviewer = person(tmp_path, chain, name)
        command = [
            "review",
            "run",
            "--auto",
            "--task-id",
            number,
            "--batches",
            "1",
            "--scorer",
            f"{scorer}:score",
        ]
        loops.append(
            subprocess.Popen(
                [sys.executable, "-m", "omnitensor.cli.main", *command],
                env=reviewer.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    contributor = person(tmp_path, chain, "contributor")
    path = write_texts(tmp_path / "data", 1, skip=60)[0]
    contributor.must("upload-data", "--task-id", number, "--file", str(path))
    last = person(tmp_path, chain, "v3")
    chain.until(lambda: f"{number}" in last.must("review", "list").out)
    seat = last.must("review", "list", "--json").json["assignments"][0]
    shown = last.must("review", "show", str(seat["batch"]), "--json").json["items"][0]
    assert shown["facts"]["media_type"] == "text/plain"
    (preview,) = (Path(each) for each in shown["files"])
    assert preview.stat().st_mode & 0o777 == 0o600
    assert preview.read_text().startswith(path.read_text()[:200])
    assert preview.name in last.must("review", "show", str(seat["batch"])).out.replace("\n", "")
    scores = tmp_path / "scores.json"
    scores.write_text("[[90, 70, 80, 0]]")
    said = last.must("review", "batch", "--task-id", number, "--scores", str(scores), "--json").json
    assert said["state"] == "revealed"
    assert said["judgements"][0]["reasons"] == ["scored by hand"]
    for loop in loops:
        output, _ = loop.communicate(timeout=600)
        assert loop.returncode == 0, output
        assert "1 report revealed" in output
    chain.until(lambda: bool(chain_item(contributor, number)["scores"]))
    item = chain_item(contributor, number)
    assert item["scores"]["accuracy"] == 77
    (known,) = last.must("facts", "--item", str(item["item"]), "--json").json["facts"]
    assert (known["declared"], known["agrees"]) == ("text/plain", True)
    assert known["facts"]["size"] == path.stat().st_size
    assert "revealed" in last.must("review", "list", "--all").out


def test_decline_a_seat(chain: SmallChain, campaign: list[str], tmp_path: Path) -> None:
    sponsor = person(tmp_path, chain, "sponsor")
    number = str(sponsor.must(*campaign, "--json").json["campaign"])
    contributor = person(tmp_path, chain, "contributor")
    path = write_texts(tmp_path / "data", 1, skip=64)[0]
    contributor.must("upload-data", "--task-id", number, "--file", str(path))
    drawn = person(tmp_path, chain, "v1")

    def seat() -> list[dict[str, int]]:
        found = drawn.must("review", "list", "--all", "--json").json["assignments"]
        return [each for each in found if each["campaign"] == int(number)]

    chain.until(lambda: bool(seat()))
    (mine,) = seat()
    assert "given back" in drawn.must("review", "decline", str(mine["batch"])).out
    assert seat()[0]["state"] == "declined"
    again = drawn.type("review", "decline", str(mine["batch"]))
    assert (again.code, "declined" in again.err) == (1, True)


def chain_item(who: Person, number: str) -> dict[str, dict[str, int]]:
    (item,) = who.must("check-status", "--task-id", number, "--json").json["items"]
    found: dict[str, dict[str, int]] = item
    return found


@pytest.mark.timeout(1_800)
def test_follow_says_each_change(chain: SmallChain, campaign: list[str], tmp_path: Path) -> None:
    sponsor = person(tmp_path, chain, "sponsor")
    number = str(sponsor.must(*campaign, "--json").json["campaign"])
    folder = tmp_path / "data"
    write_texts(folder, 1, skip=62)
    (folder / "bad.txt").write_text("buy now " * 300)
    from omnitensor.sdk import Validator, Wallet

    validators = []
    for name in ("v0", "v1", "v2", "v3"):
        wallet = Wallet(key(name), key(name).address)
        validators.append(Validator(wallet=wallet, endpoint=chain.endpoint, home=tmp_path / f"sdk-{name}"))
        threading.Thread(target=validators[-1].review_loop, args=([number],), daemon=True).start()
    contributor = person(tmp_path, chain, "contributor")
    said = contributor.must(
        "upload-data", "--task-id", number, "--file", str(folder), "--follow", "--timeout", "600"
    )
    for validator in validators:
        validator.close()
    assert "is rejected: completeness, accuracy" in said.err
    assert "is accepted" in said.err or "is paid" in said.err


def test_new_account_and_its_words(chain: SmallChain, tmp_path: Path) -> None:
    someone = Person(tmp_path / "new", chain.endpoint)
    made = someone.must("login", "--new", "--json").json
    assert len(made["mnemonic"].split()) == 24
    assert format_address(parse_secret(made["mnemonic"]).address) == made["address"]
    other = Person(tmp_path / "other", chain.endpoint)
    other.must("login", "--mnemonic", given=made["mnemonic"])
    assert other.must("whoami", "--json").json["address"] == made["address"]


def test_help_and_completion() -> None:
    someone = Person(Path("unused"))
    for group in ((), ("campaign",), ("stake",), ("validator",), ("api-key",), ("review",), ("tx",)):
        assert "Usage: otensor-cli" in someone.must(*group, "--help").out
    for shell in ("bash", "zsh", "fish"):
        assert "_OTENSOR_CLI_COMPLETE" in someone.must("completion", shell).out
    assert "0.1" in someone.must("--version").out
