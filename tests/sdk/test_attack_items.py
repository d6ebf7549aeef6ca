"""A contributor with a program of its own says false things of its items: reviewers with the built-in checks find each."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import ItemDeclaration, SubmissionCommit, SubmissionReveal
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.reviews import items_root, submission_commitment
from omnitensor.protocol.types import NANO, CampaignId, Hash
from omnitensor.sdk import Client, Contributor, RefusedError, Validator, Wallet
from omnitensor.sdk.content import upload_file
from omnitensor.sdk.loops import LOOP
from tests.sdk.samples import texts
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_near_duplicates import join_all, run_all
from tests.sdk.test_sdk_story import open_campaign

pytestmark = [pytest.mark.xdist_group("sdk-attack-items"), pytest.mark.timeout(1_800)]

Wallets = Callable[[str], Wallet]
NAMES = ("v0", "v1", "v2", "v3")


class Liar:
    """Hands in what it likes, past all that the SDK looks at before."""

    def __init__(self, chain: SmallChain, wallet: Wallet, home: Path) -> None:
        self.client = Client(chain.endpoint, home=home)
        self.wallet = wallet

    def upload(self, path: Path) -> ContentId:
        content = content_id_of(path.read_bytes())
        client = self.client.asynchronous

        async def send() -> None:
            await upload_file(client.transport, self.wallet, await client.chain_id(), path, content)

        LOOP.run(send())
        return content

    def commit(self, campaign: int, *items: ItemDeclaration, of: int | None = None) -> Hash:
        """Commits to items, perhaps as they would be committed to in another campaign; the salt."""
        salt = Hash(secrets.token_bytes(32))
        chain_id = LOOP.run(self.client.asynchronous.chain_id())
        commitment = submission_commitment(
            chain_id, of or campaign, items_root(items), self.wallet.address, salt
        )
        self.client.execute(self.wallet, SubmissionCommit(CampaignId(campaign), commitment, len(items)))
        self.commitment = commitment
        return salt

    def reveal(self, campaign: int, salt: Hash, *items: ItemDeclaration) -> None:
        self.client.execute(self.wallet, SubmissionReveal(CampaignId(campaign), self.commitment, salt, items))


def written(folder: Path, place: int) -> Path:
    """A page of documentation of its own."""
    page = [text for text in texts().values() if 1_500 < len(text) < 6_000][place]
    path = folder / f"{place}.txt"
    path.write_text(page, encoding="utf-8")
    return path


def test_false_types_withheld_bytes_and_false_digests_are_found_and_cost_their_bonds(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    campaign = open_campaign(
        chain, wallet("sponsor"), home, media=["text/plain", "image/png"], instructions="language: en"
    )
    liar = Liar(chain, wallet("contributor"), home)
    typed, withheld, digest, honest = (written(tmp_path, place) for place in range(4))
    true = liar.upload(digest)
    items = {
        "a text that is said to be a picture": ItemDeclaration(liar.upload(typed), "image/png", 1, 0),
        "bytes that nobody is given": ItemDeclaration(
            content_id_of(withheld.read_bytes()), "text/plain", 1, 0
        ),
        "a digest of other bytes": ItemDeclaration(
            ContentId(Hash(b"f" * 32), true.size, true.chunk_root), "text/plain", 1, 0
        ),
        "an honest text": ItemDeclaration(liar.upload(honest), "text/plain", 1, 0),
    }
    reasons: dict[str, list[str]] = {name: [] for name in NAMES}

    def review(name: str) -> None:
        with Validator(wallet=wallet(name), endpoint=chain.endpoint, home=tmp_path / name) as validator:
            for _ in range(2):  # what is withheld is escalated
                batch = validator.get_data_batch(campaign, timeout_s=600)
                found = validator.validate(batch)
                reasons[name] += [judged.reasons[0] for judged in found]
                validator.submit_results(found, timeout_s=600)

    threads = run_all([lambda name=name: review(name) for name in NAMES])  # type: ignore[misc]
    salt = liar.commit(campaign, *items.values())
    liar.reveal(campaign, salt, *items.values())
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        chain.until(lambda: all(item.settled for item in contributor.items(campaign)), 600)
        join_all(threads)
        found = {item.content.chunk_root: item for item in contributor.items(campaign)}
    shown = {what: found[item.content.chunk_root.hex()] for what, item in items.items()}
    assert {what: item.status for what, item in shown.items()} == {
        what: "paid" if what == "an honest text" else "rejected" for what in items
    }
    assert "accuracy" in shown["a text that is said to be a picture"].reasons
    assert "unavailable" in shown["bytes that nobody is given"].reasons
    assert "unavailable" in shown["a digest of other bytes"].reasons
    lost = liar.client.rewards(liar.wallet.address).penalties
    assert lost == 3 * int(0.2 * NANO) // 4, "a quarter of each bond"
    words = " ".join(reason for told in reasons.values() for reason in told)
    assert "declared as image/png, but its bytes are text/plain" in words
    assert "no node could serve its bytes" in words


def test_a_commitment_of_another_campaign_opens_nothing_here(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    first, second = (open_campaign(chain, wallet("sponsor"), home) for _ in range(2))
    liar = Liar(chain, wallet("second"), home)
    item = ItemDeclaration(liar.upload(written(tmp_path, 5)), "text/plain", 1, 0)
    salt = liar.commit(second, item, of=first)
    with pytest.raises(RefusedError) as caught:
        liar.reveal(second, salt, item)
    assert caught.value.code == "commitment"
    assert liar.client.items(second) == []
