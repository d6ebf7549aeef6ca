"""Killed with kill -9 at any step, a submission or a report goes on where it was, and nothing is sent or paid twice."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.codec import decode
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import format_secret
from omnitensor.protocol.limits import MIB
from omnitensor.protocol.transactions import Transaction
from omnitensor.sdk import BusyError, Client, Contributor, Home, InputError, Validator, Wallet
from omnitensor.sdk.contributor import Job, Moment
from omnitensor.sdk.errors import NonceUsedError
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import FAST, SmallChain
from tests.sdk.test_sdk_story import open_campaign
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("sdk-resume")
Wallets = Callable[[str], Wallet]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """No window ends meanwhile: bonds of one test would come back to what another counts."""
    found = SmallChain(tmp_path_factory.mktemp("node"), replace(FAST, report_commit_blocks=100_000))
    yield found
    found.stop()


# The step at which the process dies: before or after its n-th write to disk, or right after its n-th transaction was taken.
KILLED = """
import os, signal, sys
from omnitensor.sdk import home, orders

when, number, which = sys.argv[1], int(sys.argv[2]), sys.argv[3]
left = number

def dying(real, when_it_dies):
    def call(*args, **kwargs):
        global left
        left -= 1
        if when_it_dies == "before" and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **kwargs)
        if when_it_dies == "after" and left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

def dying_send(real):
    async def call(*args, **kwargs):
        global left
        found = await real(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return call

if when == "sent":
    orders.Orders.send = dying_send(orders.Orders.send)
else:
    home.Home.write = dying(home.Home.write, when)
"""
CONTRIBUTE = """
from omnitensor.sdk import Contributor, Wallet
contributor = Contributor(Wallet.from_secret(sys.argv[4]), endpoint=sys.argv[5])
contributor.upload(int(sys.argv[6]), sys.argv[7:])
"""
REVIEW = """
from omnitensor.sdk import Validator, Wallet
validator = Validator(wallet=Wallet.from_secret(sys.argv[4]), endpoint=sys.argv[5])
batch = validator.get_data_batch(sys.argv[6], timeout_s=600)
validator.submit_results(validator.validate(batch), timeout_s=600)
"""


def run_and_kill(code: str, when: str, number: int, wallet_name: str, chain: SmallChain, *more: str) -> int:
    command = [sys.executable, "-c", KILLED + code, when, str(number), "x"]
    command += [format_secret(key(wallet_name)), chain.endpoint, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def orders_of(chain: SmallChain, name: str, start: int) -> list[str]:
    """Kinds of the different transactions that an account sent, from the `start`-th submit on."""
    seen = {}
    for encoded in chain.submitted[start:]:
        transaction = decode(Transaction, encoded)
        if transaction.sender == key(name).address:
            seen[encoded] = transaction.body.KIND
    return sorted(seen.values())


# Writes: planned, uploaded, commit signed, committed, reveal signed, revealed.
STEPS = [
    *(("before", number) for number in (1, 3, 4, 6)),
    *(("after", number) for number in (1, 3, 5, 6)),
    ("sent", 1),
    ("sent", 2),
]


@pytest.mark.parametrize(("when", "number"), STEPS)
def test_contributor_goes_on(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path, when: str, number: int
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    paths = write_texts(tmp_path / "texts", 2, skip=30)
    start, before = len(chain.submitted), chain.balance("contributor")
    assert run_and_kill(CONTRIBUTE, when, number, "contributor", chain, str(campaign), *map(str, paths)) == -9
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        unfinished = contributor.pending()
        if (when, number) == ("after", 6):
            assert unfinished == []
            with pytest.raises(InputError, match="submitted to campaign"):
                contributor.upload(campaign, paths)
        elif (when, number) == ("before", 1):
            assert unfinished == []
            contributor.upload(campaign, paths)
        else:
            assert len(unfinished) == 1
            (done,) = contributor.resume() if number % 2 else contributor.upload(campaign, paths)
            assert len(done.items) == 2
        assert len(contributor.items(campaign)) == 2
        assert contributor.pending() == []
    assert orders_of(chain, "contributor", start) == ["submission_commit", "submission_reveal"]
    fees = sum(
        chain.reader().receipt(decode(Transaction, encoded).id).receipt.fee  # type: ignore[union-attr] # final
        for encoded in set(chain.submitted[start:])
    )
    bonds = 2 * 200_000_000
    assert before - chain.balance("contributor") == fees + bonds


# Writes: report, commit signed, committed, reveal signed.
REVIEW_STEPS = [("before", 2), ("after", 2), ("sent", 1), ("sent", 2)]


@pytest.mark.parametrize(("when", "number"), REVIEW_STEPS)
def test_reviewer_goes_on(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path, when: str, number: int
) -> None:
    """All four are drawn; v0 dies at a step, and a second run of the same program finishes its report."""
    campaign = open_campaign(chain, wallet("sponsor"), home)
    with Contributor(wallet("second"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, write_texts(tmp_path / "texts", 1, skip=40))
        start = len(chain.submitted)
        others = []
        for name in ("v1", "v2", "v3"):
            other = Validator(wallet=wallet(name), endpoint=chain.endpoint, home=tmp_path / name)
            thread = threading.Thread(
                target=other.review_loop, args=([campaign],), kwargs={"batches": 1}, daemon=True
            )
            thread.start()
            others.append(thread)
        assert run_and_kill(REVIEW, when, number, "v0", chain, str(campaign)) == -9
        with Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=home) as validator:
            loop = threading.Thread(target=validator.review_loop, args=([campaign],), daemon=True)
            loop.start()
            chain.until(lambda: all(item.settled for item in contributor.items(campaign)), 600)
            seats = [seat for seat in validator.assignments(open_only=False) if seat.campaign == campaign]
        assert [seat.state for seat in seats] == ["revealed"]
    assert orders_of(chain, "v0", start) == ["report_commit", "report_reveal"]


def test_another_device_reveals(chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path) -> None:
    """The disk that held the report is lost; the sealed copy on chain and the key are enough."""
    campaign = open_campaign(chain, wallet("sponsor"), home)
    with Contributor(wallet("second"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, write_texts(tmp_path / "texts", 1, skip=50))
        for name in ("v0", "v1", "v2", "v3"):
            with Validator(wallet=wallet(name), endpoint=chain.endpoint, home=tmp_path / name) as validator:
                batch = validator.get_data_batch(campaign, timeout_s=600)
                submitted = validator.submit_results(validator.validate(batch), wait=False)
                assert submitted.state == "committed"
        for name in ("v0", "v1", "v2", "v3"):
            with Validator(
                wallet=wallet(name), endpoint=chain.endpoint, home=tmp_path / "new" / name
            ) as device:
                revealed = device.reveal_when_open(submitted.batch, submitted.round, timeout_s=600)
                assert revealed.state == "revealed"
        chain.until(lambda: all(item.settled for item in contributor.items(campaign)), 600)
        assert [item.status for item in contributor.items(campaign)] == ["paid"]


def test_other_scores_after_the_commit(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    with Contributor(wallet("second"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, write_texts(tmp_path / "texts", 1, skip=52))
    with Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=home) as validator:
        found = validator.validate(validator.get_data_batch(campaign, timeout_s=600))
        start = len(chain.submitted)
        first = validator.submit_results(found, wait=False)
        assert validator.commit(found).commit_tx == first.commit_tx
        with pytest.raises(InputError, match="other scores were committed"):
            validator.commit(found.with_scores(0, relevance=3))
    assert orders_of(chain, "v0", start) == ["report_commit"]


def test_node_that_dropped_the_upload(chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path) -> None:
    """Interrupted between upload and commit for so long that the node dropped the bytes: they are uploaded again."""
    campaign = open_campaign(chain, wallet("sponsor"), home)
    (path,) = write_texts(tmp_path / "texts", 1, skip=56)
    assert run_and_kill(CONTRIBUTE, "after", 2, "contributor", chain, str(campaign), str(path)) == -9
    root = content_id_of(path.read_bytes()).chunk_root
    assert chain.content.has(root)
    chain.content.drop(root)
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, [path])
    assert chain.content.has(root)


def test_large_file_goes_up_in_chunks_and_goes_on(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """Five chunks; after a kill in the middle only those that are missing are sent."""
    campaign = open_campaign(chain, wallet("sponsor"), home, item_bytes_max=8 * MIB, media=["text/plain"])
    path = tmp_path / "large.txt"
    path.write_text("".join(f"line {number} of a long text\n" for number in range(160_000)))
    content = content_id_of(path.read_bytes())
    assert content.chunks == 5
    contributor = Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home)
    sent: list[int] = []

    def stop_at_two(moment: Moment) -> None:
        if moment.stage == "upload":
            sent.append(moment.done)
            if moment.done >= 2 * MIB:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        contributor.upload(campaign, [path], watch=stop_at_two)
    moments: list[Moment] = []
    contributor.upload(campaign, [path], watch=moments.append)
    contributor.close()
    first = next(moment for moment in moments if moment.stage == "upload")
    assert first.done >= 2 * MIB, "what had arrived is not sent again"
    assert chain.content.stat(content.chunk_root) == content
    assert b"".join(chain.content.read_chunk(content.chunk_root, n) for n in range(5)) == path.read_bytes()


def test_two_processes_at_one_submission(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home)
    paths = write_texts(tmp_path / "texts", 1, skip=54)
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        path = contributor.job_path(campaign, contributor.plan(campaign, paths))
        with Home(home).locked(path), pytest.raises(BusyError, match="another process"):
            contributor.upload(campaign, paths)
        contributor.upload(campaign, paths)
        assert Home(home).read(path, Job).stage == "revealed"  # type: ignore[union-attr] # it is there
        assert path.stat().st_mode & 0o777 == 0o600


def test_two_senders_of_one_account(chain: SmallChain, wallet: Wallets, home: Path) -> None:
    """Several clients send for one account at once: a payment is made once, or refused because another took its nonce."""
    to, nonce_before = Wallet.generate(), chain.reader().account(key("second").address).nonce
    faults: list[BaseException] = []

    def send() -> None:
        try:
            with Client(chain.endpoint, home=home) as client:
                client.transfer(wallet("second"), to.address, 1_000)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert all(isinstance(fault, NonceUsedError) for fault in faults), faults
    made = 6 - len(faults)
    assert made >= 1
    assert chain.reader().account(to.address).balance == 1_000 * made
    assert chain.reader().account(key("second").address).nonce == nonce_before + made


def test_node_that_forgot_a_transaction(chain: SmallChain, wallet: Wallets, home: Path) -> None:
    """A node loses its mempool; the client sends the same bytes again, and the order is made once."""
    to = Wallet.generate()
    with Client(chain.endpoint, home=home) as client:
        chain.is_paused = True
        from omnitensor.protocol.bodies import Transfer
        from omnitensor.protocol.types import Amount

        order = client.submit(wallet("second"), Transfer(to.address, Amount(5)))
        chain.forget_waiting()
        assert client.transaction(order.id).status == "unknown"
        chain.is_paused = False
        assert client.deliver(order).status == "final"
        assert client.account(to.address).balance == 5
        assert client.deliver(order).status == "final"
        assert client.account(to.address).balance == 5
