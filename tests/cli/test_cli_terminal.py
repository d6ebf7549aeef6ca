"""The commands at a real terminal (a pseudo-terminal): prompts are hidden, passphrases asked for, and progress is shown."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnitensor.protocol.keys import format_address, format_secret
from tests.cli.people import Person
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("cli-terminal")


def at_terminal(who: Person, *arguments: str, answers: tuple[tuple[str, str], ...]) -> tuple[int, str]:
    """Run a command at a terminal; each answer is typed when its prompt has appeared. Exit status and all that was shown."""
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "omnitensor.cli.main", *arguments],
        env=who.environment | {"TERM": "xterm", "COLUMNS": "160"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown, left, end = "", list(answers), time.monotonic() + 600
    while time.monotonic() < end:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                piece = os.read(leader, 4_096)
            except OSError:  # the program has ended and closed its side
                break
            shown += piece.decode("utf-8", "replace")
        if left and left[0][0] in shown:
            os.write(leader, left.pop(0)[1].encode() + b"\n")
    os.close(leader)
    assert left == [], shown
    return program.wait(600), shown


def test_login_upload_logout(chain: SmallChain, tmp_path: Path) -> None:
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    options = "--title T --unit-price 4 --review-fee 0.5 --budget 60 --preset economy"
    number = str(sponsor.must("campaign", "open", "--yes", *options.split(), "--json").json["campaign"])
    someone, secret = Person(tmp_path / "someone", chain.endpoint), format_secret(key("contributor"))
    code, shown = at_terminal(
        someone,
        "login",
        answers=(
            ("Private key", secret),
            ("New passphrase", "correct horse"),
            ("Once more", "correct horse"),
        ),
    )
    assert code == 0, shown
    assert f"logged in as {format_address(key('contributor').address)}" in shown
    assert secret not in shown
    assert "correct horse" not in shown
    assert "without a passphrase" not in shown
    (path,) = write_texts(tmp_path / "data", 1, skip=5)
    upload = ("upload-data", "--task-id", number, "--file", str(path))
    code, shown = at_terminal(someone, *upload, answers=(("Passphrase", "battery staple"),))
    assert (code, "password does not open" in shown) == (1, True)
    code, shown = at_terminal(someone, *upload, answers=(("Passphrase", "correct horse"),))
    assert code == 0, shown
    assert path.name in shown
    assert "1 item submitted" in shown
    code, shown = at_terminal(someone, "logout", answers=(("Have a copy of it", "n"),))
    assert code == 130
    assert (someone.folder / "keystore.json").exists()
    code, shown = at_terminal(someone, "logout", answers=(("Have a copy of it", "y"),))
    assert code == 0
    assert not (someone.folder / "keystore.json").exists()


def test_scores_by_hand(chain: SmallChain, tmp_path: Path) -> None:
    """A reviewer sees the text and what the checks say, mistypes once, and gives scores; the others run with checks alone."""
    sponsor = Person(tmp_path / "sponsor", chain.endpoint).log_in("sponsor")
    options = "--title T --unit-price 4 --review-fee 0.5 --budget 60 --preset economy --seats 4"
    number = str(sponsor.must("campaign", "open", "--yes", *options.split(), "--json").json["campaign"])
    contributor = Person(tmp_path / "contributor", chain.endpoint).log_in("second")
    path = tmp_path / "whale.txt"
    path.write_text(
        "The whale sings in the deep \x1b[31msea for hours, and nobody there knows why it does so."
    )
    contributor.must("upload-data", "--task-id", number, "--file", str(path))
    loops = []
    for name in ("v1", "v2", "v3"):
        reviewer = Person(tmp_path / name, chain.endpoint).log_in(name)
        loops.append(
            subprocess.Popen(
                [sys.executable, "-m", "omnitensor.cli.main", "review", "run", "--auto", "--batches", "1"],
                env=reviewer.environment,
                stdout=subprocess.DEVNULL,
            )
        )
    judge = Person(tmp_path / "v0", chain.endpoint).log_in("v0")
    code, shown = at_terminal(
        judge,
        *("review", "batch", "--task-id", number),
        answers=(
            ("completeness accuracy relevance", "ninety"),
            ("three numbers from 0 to 100", "90 70 88 poisoned"),
        ),
    )
    assert code == 0, shown
    assert "The whale sings" in shown
    assert re.search(r"text/plain, \d+ characters, \d+ words", " ".join(shown.split()))
    assert "-preview.txt" in shown
    assert "\x1b[31msea" not in shown, "a text does not steer the terminal"
    assert "scored by hand" in shown
    assert "poisoned" in shown
    for loop in loops:
        assert loop.wait(600) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_output_onto_a_full_disk_is_refused_in_one_line(flags: tuple[str, ...]) -> None:
    line = [sys.executable, "-m", "omnitensor.cli.main", *flags, "campaign", "template"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert done.returncode not in (0, 120), done.stderr
    assert done.stderr.decode().splitlines() == ["error: No space left on device"]
