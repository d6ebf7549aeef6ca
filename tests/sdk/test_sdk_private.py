"""A private campaign from its opening to the payment, by the SDK against a real chain: who can read, and who can't."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from omnitensor.protocol import sealing
from omnitensor.protocol.bodies import KeyGrant, KeysGrant, Scope
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.keys import parse_address
from omnitensor.protocol.reviews import Flag
from omnitensor.protocol.sealing import SealError
from omnitensor.protocol.types import BatchId, ItemId
from omnitensor.sdk import (
    CampaignStateError,
    Client,
    ConnectionFailed,
    Contributor,
    FileError,
    InputError,
    Private,
    Validator,
    Wallet,
    bundles,
)
from omnitensor.sdk import sealing as files
from omnitensor.sdk.private import open_checked
from omnitensor.sdk.private_seats import OtherKeyError, PrivateSeat
from omnitensor.sdk.results import ContentInfo, bytes_of, hash_of
from omnitensor.sdk.results_private import KeyGrantInfo, PrivateItemInfo, SealedSeatInfo
from tests.sdk.samples import write_texts
from tests.sdk.small_chain import CHAIN_ID, FAST, SmallChain
from tests.sdk.test_sdk_story import api_key, open_campaign, wait_settled
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("sdk-private")

Wallets = Callable[[str], Wallet]
READERS = ("v0", "v1", "v2")
"""Those with reading keys; v3 reviews, and has none."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallChain]:
    """One that gives everybody time."""
    params = replace(FAST, report_commit_blocks=4_000, grant_blocks=2_000)
    found = SmallChain(tmp_path_factory.mktemp("node"), params)
    yield found
    found.stop()


def open_private(chain: SmallChain, wallet: Wallet, home: Path, **fields: object) -> int:
    return open_campaign(chain, wallet, home, private=True, first_seats=3, **fields)


def holds(folder: Path, needle: bytes) -> list[Path]:
    """Files below a folder in which bytes stand."""
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


@pytest.mark.timeout(1_800)
def test_a_private_item_is_read_by_its_reviewers_and_its_sponsor_and_by_nobody_else(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    with Client(chain.endpoint, home=home) as client:
        keys = {name: api_key(client, wallet(name)) for name in READERS}
    for name in READERS:
        with Private(api_key=keys[name], endpoint=chain.endpoint, home=tmp_path / name) as reader:
            assert reader.register_key() == reader.register_key()
    campaign = open_private(chain, wallet("sponsor"), home)
    texts = write_texts(tmp_path / "texts", 3)
    contents = sorted(path.read_bytes() for path in texts)
    read: list[bytes] = []

    def judge(item: object) -> object:
        path = item.path  # type: ignore[attr-defined] # a DataItem
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        read.append(path.read_bytes())
        return 90

    loops = [
        threading.Thread(
            target=Validator(
                api_key=keys[name], endpoint=chain.endpoint, scorer=judge, home=tmp_path / name
            ).review_loop,
            args=([campaign],),
            kwargs={"batches": 1},
            daemon=True,
        )
        for name in READERS
    ]
    for loop in loops:
        loop.start()
    with (
        Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor,
        Private(wallet("contributor"), endpoint=chain.endpoint, home=home) as giver,
    ):
        (done,) = contributor.upload(campaign, texts)
        assert not holds(home, contents[0][:200]), "no plain bytes in the contributor's work"
        assert not list((home / "work" / "sealed").rglob("*.sealed")), (
            "nor encrypted ones, once they are stored"
        )
        assert giver.watch(until_settled=campaign) == 3 * len(READERS)
        wait_settled(chain, contributor, campaign)
        items = contributor.items(campaign)
        assert [item.status for item in items] == ["paid"] * 3
        assert {item.media_type for item in items} == {"text/plain"}, "as the plain files are"
        for loop in loops:
            loop.join(600)
            assert not loop.is_alive()
        assert sorted(read) == sorted(contents * len(READERS))
        with pytest.raises(InputError, match="submitted to campaign"):
            contributor.upload(campaign, texts)
        mine = tmp_path / "mine"
        giver.read(items[0].item, mine)
        assert mine.read_bytes() in contents
        with Private(wallet("sponsor"), endpoint=chain.endpoint, home=home) as sponsor:
            for place, item in enumerate(items):
                target = tmp_path / f"sponsored-{place}"
                sponsor.read(item.item, target)
                assert stat.S_IMODE(target.stat().st_mode) == 0o600
                assert target.read_bytes() in contents
        for name in ("v3", "v0", "second"):
            with Private(wallet(name), endpoint=chain.endpoint, home=home) as stranger:
                with pytest.raises((InputError, SealError)):
                    stranger.read(items[0].item, tmp_path / "stolen")
                assert not (tmp_path / "stolen").exists()
        stored = chain.content.read_range(hash_of(items[0].content.chunk_root), 0, items[0].content.size)
        for text in contents:
            assert text[:64] not in stored
    assert {item.chunk_root for item in done.items} == {item.content.chunk_root for item in items}


@pytest.mark.timeout(1_800)
def test_a_key_that_opens_nothing_makes_an_item_unavailable(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """Also when the sponsor gives a good one for another item: each is tried, and what opens nothing is flagged."""
    validators = {
        name: Validator(wallet=wallet(name), endpoint=chain.endpoint, home=tmp_path / name)
        for name in READERS
    }
    for name in READERS:
        with Private(wallet(name), endpoint=chain.endpoint, home=tmp_path / name) as reader:
            reader.register_key()
    campaign = open_private(chain, wallet("sponsor"), home, title="Keys that open nothing", second_seats=0)
    texts = write_texts(tmp_path / "texts", 3, skip=30)
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        (done,) = contributor.upload(campaign, texts)
        with Private(wallet("contributor"), endpoint=chain.endpoint, home=home) as giver:
            chain.until(lambda: len(giver.wanted()) == len(READERS))
            seats = giver.wanted()
            for seat in validators["v0"].assignments():
                if seat.campaign == campaign:
                    assert seat.keys_pending
                    with pytest.raises(CampaignStateError, match="keys"):
                        validators["v0"].fetch(seat)
            whose = {
                root: item for item in contributor.items(campaign) for root in (item.content.chunk_root,)
            }
            numbers = [whose[item.chunk_root].item for item in done.items]
            grants = _grants(done.items, numbers, seats, wallet("contributor"), campaign)
            with Client(chain.endpoint, home=home) as client:
                client.execute(wallet("contributor"), KeysGrant(BatchId(seats[0].batch), grants))
        for name in READERS:
            (seat,) = [seat for seat in validators[name].assignments() if seat.campaign == campaign]
            batch = validators[name].fetch(seat)
            by_number = {item.item: item for item in batch}
            assert by_number[numbers[0]].read_bytes() == texts[0].read_bytes()
            assert by_number[numbers[1]].path is None, "another item's key"
            assert by_number[numbers[2]].path is None, "another recipient's wrap"
            found = validators[name].validate(batch)
            flags = {judged.item: judged.flags for judged in found}
            assert [flags[number] for number in numbers] == [0, Flag.UNAVAILABLE, Flag.UNAVAILABLE]
            validators[name].commit(found)
        for name in READERS:
            validators[name].reveal_when_open(seats[0].batch, 1, timeout_s=600)
        wait_settled(chain, contributor, campaign)
        ends = {item.item: item for item in contributor.items(campaign)}
        assert [ends[number].status for number in numbers] == ["paid", "rejected", "rejected"]
        assert "unavailable" in ends[numbers[1]].reasons
    for validator in validators.values():
        validator.close()


def _grants(
    items: list[bundles.BundleItem], numbers: list[int], seats: list[object], wallet: Wallet, campaign: int
) -> tuple[KeyGrant, ...]:
    """The first item's key as it should be; the second's wrapped for the first; the third's wrapped to another seat."""
    made = []
    for seat in seats:
        others = [other for other in seats if other is not seat]
        for place, item in enumerate(items):
            assert item.private is not None
            secret = wallet.item_key(CHAIN_ID, campaign, bytes_of(item.private.plain_sha256))
            place_of = 0 if place == 1 else place
            validator = parse_address(seat.validator)  # type: ignore[attr-defined] # a WantedSeat
            context = sealing.seat_context(
                CHAIN_ID,
                campaign,
                hash_of(items[place_of].chunk_root),
                wallet.address,
                seat.batch,  # type: ignore[attr-defined] # a WantedSeat
                numbers[place_of],
                validator,
            )
            to = others[0] if place == 2 else seat
            wrapped = sealing.wrap(secret, bytes_of(to.key), context)  # type: ignore[attr-defined] # a WantedSeat
            made.append(KeyGrant(ItemId(numbers[place]), validator, wrapped))
    return tuple(made)


@pytest.mark.timeout(1_800)
def test_a_watch_that_died_goes_on_elsewhere_and_the_sponsor_can_take_over(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path
) -> None:
    """Nothing of the contributor's disk is needed to give keys: another machine with the same signing key does."""
    for name in READERS:
        with Private(wallet(name), endpoint=chain.endpoint, home=tmp_path / name) as reader:
            reader.register_key()
    campaign = open_private(chain, wallet("sponsor"), home, title="Two machines")
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        contributor.upload(campaign, write_texts(tmp_path / "texts", 2, skip=50))
    with Private(wallet("contributor"), endpoint=chain.endpoint, home=tmp_path / "elsewhere") as giver:
        chain.until(lambda: len(giver.wanted()) == len(READERS))
        with Private(wallet("sponsor"), endpoint=chain.endpoint, home=home) as sponsor:
            assert len(sponsor.wanted()) == len(READERS)
            assert sponsor.give() == [], "it is the contributor's to do, for half of the time"
        (given,) = giver.give()
        assert (given.seats, given.keys) == (len(READERS), 2 * len(READERS))
        assert giver.wanted() == []
        assert giver.give() == []
    with Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=tmp_path / "v0") as validator:
        (seat,) = [seat for seat in validator.assignments() if seat.campaign == campaign]
        assert not seat.keys_pending
        assert all(item.path is not None for item in validator.fetch(seat))
    (plain_folder,) = [path for path in (tmp_path / "v0").rglob(f"{seat.batch}-1") if path.is_dir()]
    assert list(plain_folder.iterdir())
    strays = plain_folder.with_name("999999-1")
    plain_folder.rename(strays)
    with Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=tmp_path / "v0") as validator:
        validator.finish()
    assert not strays.exists(), "of a seat that is over nothing stays in plain, whether it reported or not"
    with Client(chain.endpoint, home=home) as client:
        other = api_key(client, wallet("v0"), Scope.REVIEW)
    with Validator(api_key=other, endpoint=chain.endpoint, home=tmp_path / "other") as validator:
        (seat,) = [seat for seat in validator.assignments() if seat.campaign == campaign]
        with pytest.raises(OtherKeyError):
            validator.fetch(seat)


def test_an_upload_that_died_goes_on_with_the_same_bytes(
    chain: SmallChain, wallet: Wallets, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encrypted anew after the encrypted file was lost, it is the same item: nothing is handed in twice."""
    campaign = open_private(chain, wallet("sponsor"), home, title="Interrupted")
    texts = write_texts(tmp_path / "texts", 2, skip=70)

    async def dies(*_: object) -> None:
        raise ConnectionFailed("the power went", value="here")

    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as contributor:
        planned = contributor.plan(campaign, texts)
        with monkeypatch.context() as patch:
            patch.setattr("omnitensor.sdk.contributor.upload_file", dies)
            with pytest.raises(ConnectionFailed):
                contributor.upload(campaign, texts)
        (left,) = (home / "work" / "sealed").rglob("*.sealed")
        assert content_id_of(left.read_bytes()) in [item.content for item in planned]
        left.unlink()
        (done,) = contributor.upload(campaign, texts)
        assert done.items == planned
        assert len(contributor.items(campaign)) == 2


# -- files, without a chain


def test_encrypting_is_the_same_again_and_leaves_no_half_files(tmp_path: Path, wallet: Wallets) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"some words of a file " * 30_000)
    item = _sealed(plain, wallet("contributor"))
    assert item == _sealed(plain, wallet("contributor"))
    assert item.chunk_root != _sealed(plain, wallet("second")).chunk_root, (
        "by another contributor it looks different"
    )
    target = tmp_path / "sealed"
    files.seal_for_upload(item, wallet("contributor"), CHAIN_ID, 7, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert content_id_of(target.read_bytes()) == item.content
    secret = wallet("contributor").item_key(
        CHAIN_ID, 7, bytes_of(item.private.plain_sha256 if item.private else "")
    )
    context = sealing.content_context(CHAIN_ID, 7, key("contributor").address)
    back = tmp_path / "back"
    assert files.open_file(target, back, secret, context).size == plain.stat().st_size
    assert back.read_bytes() == plain.read_bytes()
    back.unlink()
    for damage in (target.read_bytes()[:-1], target.read_bytes()[: -64 * 1024], b"", b"x" * 100):
        target.write_bytes(damage)
        with pytest.raises(SealError):
            files.open_file(target, back, secret, context)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.txt", "sealed"], (
            "nothing half done"
        )


def test_a_file_that_changes_is_never_encrypted_under_the_old_key(tmp_path: Path, wallet: Wallets) -> None:
    """Two contents under one key would tell of each other; what was encrypted of the new one leaves no trace."""
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"first " * 10_000)
    item = _sealed(plain, wallet("contributor"))
    plain.write_bytes(b"other " * 10_000)
    with pytest.raises(FileError, match="changed"):
        files.seal_for_upload(item, wallet("contributor"), CHAIN_ID, 7, tmp_path / "sealed")
    assert [path.name for path in tmp_path.iterdir()] == ["plain.txt"]


def _sealed(path: Path, wallet: Wallet) -> bundles.BundleItem:
    from omnitensor.sdk.results import Campaign, Escrow, SpecInfo

    reading = sealing.ReadingKey(bytes(range(32))).public.hex()
    spec = SpecInfo(
        "t",
        "",
        ["text/plain"],
        "CC0-1.0",
        [10_000],
        [],
        1,
        1,
        0,
        [1],
        [1],
        1,
        3,
        0,
        1,
        10_000,
        10**9,
        9,
        reading_key=reading,
    )
    campaign = Campaign(7, "omnit1", "open", spec, Escrow(0, 0, 0, 0))
    found = bundles.declare(path, campaign, tier=0, category=0)
    return files.sealed_item(found, campaign, wallet, CHAIN_ID)


def test_a_wallet_makes_the_same_keys_again_and_others_for_everything_else(wallet: Wallets) -> None:
    ann, ben = wallet("contributor"), wallet("second")
    digest = bytes(32)
    made = ann.item_key(CHAIN_ID, 7, digest)
    assert made == ann.item_key(CHAIN_ID, 7, digest)
    others = [
        ben.item_key(CHAIN_ID, 7, digest),
        ann.item_key("other-1", 7, digest),
        ann.item_key(CHAIN_ID, 8, digest),
        ann.item_key(CHAIN_ID, 7, bytes([1]) * 32),
    ]
    assert len({made, *others}) == 5
    sealed = ann.seal_item_key(CHAIN_ID, 7, hash_of("00" * 32), made)
    assert len(sealed) == sealing.OWN_SEAL_BYTES
    assert ann.open_item_key(CHAIN_ID, 7, hash_of("00" * 32), sealed) == made
    for opener, campaign in ((ben, 7), (ann, 8)):
        with pytest.raises(InputError):
            opener.open_item_key(CHAIN_ID, campaign, hash_of("00" * 32), sealed)
    assert made.hex() not in repr(ann)


def test_a_reviewer_sees_what_else_a_contributor_declared_falsely(tmp_path: Path, wallet: Wallets) -> None:
    """The sponsor given another key than the seat, or a plain file that is not the declared one: neither passes for readable."""
    plain, contributor, reviewer = tmp_path / "plain.txt", wallet("contributor"), wallet("v0")
    plain.write_bytes(b"some words of a file " * 3_000)
    item = _sealed(plain, contributor)
    assert item.private is not None
    secret = contributor.item_key(CHAIN_ID, 7, bytes_of(item.private.plain_sha256))
    info = PrivateItemInfo(
        11,
        7,
        contributor.text,
        _content_info(item),
        item.private.plain,
        item.private.sponsor,
        item.private.own,
    )
    root = hash_of(item.chunk_root)
    context = sealing.seat_context(CHAIN_ID, 7, root, contributor.address, 3, 11, reviewer.address)
    reading = reviewer.reading_key(CHAIN_ID)
    given = KeyGrantInfo(11, sealing.wrap(secret, reading.public, context).hex(), "00" * 80)
    sponsor = sealing.ReadingKey(bytes(range(32))).public
    sealed_seat = SealedSeatInfo(3, 7, reviewer.text, reading.public.hex(), 99, 1, [given])
    seat = PrivateSeat(None, reviewer, CHAIN_ID, sealed_seat, sponsor)  # type: ignore[arg-type] # it asks nobody here
    assert seat._key(info, given) == secret
    assert seat._key(info, KeyGrantInfo(11, "00" * 80, given.contributor)) == secret, (
        "whoever gave the good one"
    )
    for false in (
        KeyGrantInfo(11, None, None),
        KeyGrantInfo(11, "00" * 80, None),
        KeyGrantInfo(11, given.contributor and given.contributor[:-2], None),
    ):
        with pytest.raises(SealError):
            seat._key(info, false)
    with pytest.raises(SealError, match="sponsor"):
        seat._key(
            msgspec.structs.replace(info, sponsor=sealing.wrap(bytes(32), sponsor, context).hex()), given
        )
    target, back = tmp_path / "sealed", tmp_path / "back"
    files.seal_for_upload(item, contributor, CHAIN_ID, 7, target)
    assert open_checked(target, back, secret, info, CHAIN_ID).size == plain.stat().st_size
    back.unlink()
    with pytest.raises(SealError, match="declared"):
        open_checked(target, back, secret, msgspec.structs.replace(info, plain="11" * 32), CHAIN_ID)
    assert not back.exists()


def _content_info(item: bundles.BundleItem) -> ContentInfo:
    return ContentInfo(item.sha256, item.size, item.chunk_root)
