"""Image, text, audio, video and a table through a real chain and a real node: declared, uploaded, judged, shown; lies refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from omnitensor.sdk import Client, Contributor, FileError, Validator, Wallet
from omnitensor.sdk.previews import preview_batch
from tests.media.samples import picture, silence, sound_file, table, tone, video_file, wav
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_sdk_story import api_key, open_campaign, review_in_threads, wait_settled

pytestmark = pytest.mark.xdist_group("sdk-media-story")

Wallets = Callable[[str], Wallet]
WORDS = "The whale is the largest animal that has ever lived in the sea, and nobody knows why it sings for so long."


def files(folder: Path) -> dict[str, Path]:
    """One file of each kind, under names that say nothing; and a sound in which nothing is to be heard."""
    folder.mkdir()
    made = {
        "image/png": folder / "a",
        "text/plain": folder / "b",
        "audio/ogg": folder / "c",
        "video/mp4": folder / "d",
        "text/csv": folder / "e.csv",
        "audio/wav": folder / "f",
    }
    made["image/png"].write_bytes(picture("PNG", (64, 48)))
    made["text/plain"].write_text(WORDS)
    sound_file(made["audio/ogg"], "ogg", "libopus", seconds=2)
    video_file(made["video/mp4"], sound=tone, frames=50)
    made["text/csv"].write_text(table(40))
    made["audio/wav"].write_bytes(wav(silence, seconds=2))
    return made


@pytest.mark.timeout(1_800)
def test_every_kind_is_judged_and_shown(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    given = files(tmp_path / "given")
    campaign = open_campaign(
        chain,
        wallet("sponsor"),
        home,
        media=["image/*", "audio/*", "video/*", "text/*"],
        instructions="Whatever lives in the sea.",
    )
    with Client(chain.endpoint, home=home) as client:
        keys = {name: api_key(client, wallet(name)) for name in ("v0", "v1", "v2", "v3")}
        shown = Validator(api_key=keys.pop("v0"), endpoint=chain.endpoint, home=tmp_path / "v0")
        threads = review_in_threads(chain, keys, campaign, tmp_path / "reviewers")
        with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
            (done,) = contributor.upload(campaign, list(given.values()))
            assert [item.media_type for item in done.items] == list(given)

            batch = shown.get_data_batch(campaign, timeout_s=600)
            previews = {batch.items[each.position].media_type: each for each in preview_batch(batch)}
            results = shown.validate(batch)
            shown.submit_results(results, timeout_s=600)

            wait_settled(chain, contributor, campaign)
            for thread in threads:
                thread.join(600)
                assert not thread.is_alive()
            items = {item.media_type: item for item in contributor.items(campaign)}
        facts = {kind: client.item_facts(item.item) for kind, item in items.items()}

    assert {kind: item.status for kind, item in items.items()} == {
        **dict.fromkeys(given, "paid"),
        "audio/wav": "rejected",
    }
    suffixes = {kind: {path.suffix for path in each.files} for kind, each in previews.items()}
    assert suffixes == {
        "image/png": {".png"},
        "text/plain": {".txt"},
        "audio/ogg": {".png", ".wav"},
        "video/mp4": {".png", ".wav"},
        "text/csv": {".txt"},
        "audio/wav": {".png", ".wav"},
    }
    assert {path.parent for each in previews.values() for path in each.files} == {batch.folder}
    assert not batch.folder.exists(), "with the seat what was shown is gone"
    judged = {batch.items[each.position].media_type: each for each in results}
    assert judged["audio/wav"].reasons == ("the sound is silent",)

    assert all(each.known and each.agrees for each in facts.values())
    found = {kind: each.facts for kind, each in facts.items()}
    assert found["video/mp4"] is not None
    assert (found["video/mp4"].width, found["video/mp4"].codec, found["video/mp4"].audio_codec) == (
        64,
        "h264",
        "aac",
    )
    assert found["audio/ogg"] is not None
    assert (found["audio/ogg"].channels, found["audio/ogg"].duration_ms // 100) == (1, 20)
    assert found["text/csv"] is not None
    assert (found["text/csv"].rows, found["text/csv"].columns) == (41, 3)
    assert found["text/plain"] is not None
    assert found["text/plain"].language == "en"


@pytest.mark.parametrize(
    ("kind", "declared", "reason"),
    [
        ("image/png", "image/jpeg", "declared as image/jpeg, but its bytes are image/png"),
        ("audio/ogg", "video/ogg", "declared as video/ogg, but its bytes are audio/ogg"),
        ("video/mp4", "audio/mp4", "declared as audio/mp4, but its bytes are video/mp4"),
        ("text/plain", "image/svg+xml", "declared as image/svg"),
        ("text/plain", "application/json", "declared as application/json, and none"),
        ("image/png", "text/plain", "but its bytes are image/png"),
    ],
)
def test_a_lie_about_the_type_costs_nothing(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path, kind: str, declared: str, reason: str
) -> None:
    campaign = open_campaign(
        chain, wallet("sponsor"), home, media=["image/*", "audio/*", "video/*", "text/*", "application/json"]
    )
    path = files(tmp_path / "given")[kind]
    before = chain.balance("contributor")
    with (
        Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor,
        pytest.raises(FileError) as error,
    ):
        contributor.upload(campaign, [path], media_type=declared)
    assert reason in str(error.value)
    assert chain.balance("contributor") == before, "refused before any fee"


def test_a_broken_file_costs_nothing(chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path) -> None:
    campaign = open_campaign(chain, wallet("sponsor"), home, media=["audio/*", "video/*"])
    given = files(tmp_path / "given")
    before = chain.balance("contributor")
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        for kind in ("audio/wav", "video/mp4", "audio/ogg"):
            cut = tmp_path / "cut"
            data = given[kind].read_bytes()
            cut.write_bytes(data[: len(data) * 2 // 3])
            with pytest.raises(FileError, match="cut off"):
                contributor.upload(campaign, [cut])
    assert chain.balance("contributor") == before
