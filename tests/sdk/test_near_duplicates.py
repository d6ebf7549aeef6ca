"""Near duplicates on a real chain: an edited copy of an accepted text is flagged with what it repeats, and rejected."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from omnitensor.protocol.reviews import Flag
from omnitensor.sdk import Client, Contributor, RpcError, Validator, Wallet
from rpc.methods import TABLE
from tests.sdk.samples import texts
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_sdk_story import open_campaign, wait_settled

pytestmark = pytest.mark.xdist_group("sdk-near-duplicates")

Wallets = Callable[[str], Wallet]
NAMES = ("v0", "v1", "v2", "v3")
ORIGINAL = next(text for text in texts().values() if len(text) > 2_000)
EDITED = ORIGINAL.upper()[:-60] + " and so it ends, in the words of somebody else."


class Reviewer:
    """One validator's program."""

    def __init__(self, chain: SmallChain, wallet: Wallet, campaign: int, home: Path) -> None:
        self.chain, self.wallet, self.campaign, self.home = chain, wallet, campaign, home
        self.reasons = ""

    def validator(self, home: Path) -> Validator:
        return Validator(wallet=self.wallet, endpoint=self.chain.endpoint, home=home)

    def honest(self) -> None:
        validator = self.validator(self.home)
        batch = validator.get_data_batch(self.campaign, timeout_s=600)
        found = validator.validate(batch)
        self.reasons = "; ".join(reason for judged in found for reason in judged.reasons)
        validator.submit_results(found, timeout_s=600)

    def mistaken(self) -> None:
        """Names an item that is not there: the chain refuses that, and the report counts still."""
        validator = self.validator(self.home)
        batch = validator.get_data_batch(self.campaign, timeout_s=600)
        found = validator.validate(batch).with_scores(0, flags=Flag.DUPLICATE, duplicate_of=9_999)
        assert validator.submit_results(found, timeout_s=600).state == "revealed"

    def on_two_devices(self) -> None:
        """Commits here and reveals elsewhere, where only the key is."""
        validator = self.validator(self.home)
        batch = validator.get_data_batch(self.campaign, timeout_s=600)
        validator.submit_results(validator.validate(batch), wait=False)
        other = self.validator(self.home / "other")
        other.reveal_when_open(batch.batch, batch.round, timeout_s=600)


def run_all(works: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def join_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(600)
        assert not thread.is_alive()


@pytest.mark.timeout(1_800)
def test_an_edited_copy_of_an_accepted_text_is_rejected(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    original, copy = tmp_path / "original.txt", tmp_path / "copy.txt"
    original.write_text(ORIGINAL, encoding="utf-8")
    copy.write_text(EDITED, encoding="utf-8")
    campaign = open_campaign(chain, wallet("sponsor"), home, instructions="language: en", audit_bps=0)
    reviewers = [Reviewer(chain, wallet(name), campaign, tmp_path / name) for name in NAMES]

    threads = run_all([reviewer.honest for reviewer in reviewers])
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, [original])
        wait_settled(chain, contributor, campaign)
        join_all(threads)
        (accepted,) = contributor.items(campaign)
    assert (accepted.status, accepted.escalation) == ("paid", "none")
    assert all("nearly repeats" not in reviewer.reasons for reviewer in reviewers)

    first, second, third, fourth = reviewers
    threads = run_all([first.honest, second.honest, third.on_two_devices, fourth.mistaken])
    with Contributor(wallet("second"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, [copy])
        join_all(threads)
        threads = run_all([reviewer.honest for reviewer in reviewers])  # the second round
        wait_settled(chain, contributor, campaign)
        join_all(threads)
        (refused,) = contributor.items(campaign)
    assert (refused.status, refused.reasons) == ("rejected", ["duplicate"])
    assert f"nearly repeats item {accepted.item}: " in first.reasons
    with Client(chain.endpoint, home=home) as client:
        assert refused.batch is not None
        batch = client.batch(refused.batch, 1)
        assert [item.item for item in batch.items] == [refused.item]
        named = [
            [(each["place"], each["item"]) for each in seat["duplicates"]]
            for seat in client.call("review.batch", batch=refused.batch, round=1)["seats"]
        ]
        assert sorted(named) == [[], *[[(0, accepted.item)]] * 3], "the mistaken one named nothing at last"
        assert {seat.state for seat in batch.seats} == {"revealed"}


def test_a_node_without_the_method_changes_nothing(
    chain: SmallChain, wallet: Wallets, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validator = Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=home)
    monkeypatch.delitem(TABLE._methods, "review.similar")
    with Client(chain.endpoint, home=home) as client, pytest.raises(RpcError):
        client.similar(1, 1)
    assert chain.run(validator.asynchronous._near(1, 1)) == {}
