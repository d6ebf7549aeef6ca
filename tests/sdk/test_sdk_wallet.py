"""Wallets, sealed reports, fees, campaign drafts and the user's folder: what needs no chain."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnitensor.protocol import bodies
from omnitensor.protocol.bodies import Transfer
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import StorageError
from omnitensor.protocol.keys import SigningKey, format_api_key, format_secret, generate_mnemonic, verify
from omnitensor.protocol.keystore import WrongPasswordError
from omnitensor.protocol.limits import batch_items_max, sealed_report_bytes_max
from omnitensor.protocol.transactions import unsigned
from omnitensor.protocol.types import NANO, Amount, Height
from omnitensor.sdk import CampaignDraft, Home, InputError, Wallet
from omnitensor.sdk.home import Profile
from omnitensor.sdk.orders import fee_of, spends
from omnitensor.sdk.reads import campaign_number
from omnitensor.sdk.results import omnit
from omnitensor.sdk.specs import draft_from, draft_from_toml

SECRET = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"  # of RFC 8032's first test
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_every_form_of_a_secret_is_one_wallet() -> None:
    wallet = Wallet.from_secret(SECRET)
    assert wallet.public.hex() == PUBLIC
    assert not wallet.is_session
    assert Wallet.from_secret("0x" + SECRET.upper()).address == wallet.address
    assert Wallet.from_secret(format_secret(SigningKey(bytes.fromhex(SECRET)))).address == wallet.address
    words = generate_mnemonic()
    assert Wallet.from_secret(words).address == Wallet.from_secret(f" {words.upper()} ").address
    assert Wallet.from_secret(words, "extra").address != Wallet.from_secret(words).address


def test_api_key_signs_for_another_account() -> None:
    session, owner = SigningKey.generate(), Wallet.generate()
    wallet = Wallet.from_api_key(format_api_key(session))
    with pytest.raises(InputError, match="does not say whose"):
        _ = wallet.address
    bound = wallet.bound(owner.address)
    assert bound.is_session
    assert bound.text == owner.text
    draft = unsigned(
        chain_id="c",
        sender=bound.address,
        nonce=0,
        valid_until=Height(9),
        max_fee=Amount(9),
        tip=Amount(0),
        body=Transfer(owner.address, Amount(1)),
        signer=bound.public,
    )
    assert verify(session.public, draft.id, bound.sign(draft).signature)


def test_wallet_shows_no_secret() -> None:
    wallet = Wallet.from_secret(SECRET)
    assert SECRET not in repr(wallet) + str(vars(wallet))


def test_keystore_is_private_and_opens_with_its_password_alone(tmp_path: Path) -> None:
    wallet, path = Wallet.from_secret(SECRET), tmp_path / "keystore.json"
    wallet.save(path, "correct horse", scrypt_n=2**10)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SECRET not in path.read_text()
    assert Wallet.from_keystore(path, "correct horse").address == wallet.address
    with pytest.raises(WrongPasswordError):
        Wallet.from_keystore(path, "battery staple")
    with pytest.raises(StorageError, match="not overwritten"):
        wallet.save(path, "x", scrypt_n=2**10)
    path.chmod(0o644)
    with pytest.raises(StorageError, match="others than its owner"):
        Wallet.from_keystore(path, "correct horse")


@given(st.binary(min_size=4, max_size=4 * batch_items_max), st.integers(0, 2**40), st.integers(1, 9))
def test_sealed_report_opens_for_its_author_alone(report: bytes, batch: int, round_: int) -> None:
    author, device, stranger = Wallet.from_secret(SECRET), Wallet.from_secret(SECRET), Wallet.generate()
    sealed = author.seal_report("chain", batch, round_, report)
    assert report not in sealed
    assert len(sealed) <= sealed_report_bytes_max
    assert sealed != author.seal_report("chain", batch, round_, report)
    assert device.open_report("chain", batch, round_, sealed) == report
    assert device.report_salt("chain", batch, round_, report) == author.report_salt(
        "chain", batch, round_, report
    )
    for opener, chain, number, turn in (
        (stranger, "chain", batch, round_),
        (author, "other", batch, round_),
        (author, "chain", batch + 1, round_),
        (author, "chain", batch, round_ + 1),
    ):
        with pytest.raises(InputError, match="not sealed with this key"):
            opener.open_report(chain, number, turn, sealed)
    with pytest.raises(InputError):
        author.open_report("chain", batch, round_, sealed[:-1])
    with pytest.raises(InputError):
        author.open_report("chain", batch, round_, b"")


def test_salts_differ_by_report_and_place() -> None:
    wallet = Wallet.from_secret(SECRET)
    salts = {
        wallet.report_salt(chain, batch, round_, report)
        for chain in ("a", "b")
        for batch in (1, 2)
        for round_ in (1, 2)
        for report in (b"abcd", b"abce")
    }
    assert len(salts) == 16


@given(st.integers(0, 2**20), st.integers(1, 10**6))
def test_fee_covers_what_the_chain_charges(nonce: int, base_fee: int) -> None:
    """The estimate is of the widest numbers, so it is never below the weight of the signed bytes times the base fee."""
    wallet = Wallet.from_secret(SECRET)
    widest = unsigned(
        chain_id="c",
        sender=wallet.address,
        nonce=2**32,
        valid_until=Height(2**32),
        max_fee=Amount(10**18),
        tip=Amount(0),
        body=Transfer(wallet.address, Amount(NANO)),
        signer=wallet.public,
    )
    fee = fee_of(widest, base_fee)
    signed = wallet.sign(
        msgspec.structs.replace(widest, nonce=nonce, valid_until=Height(500), max_fee=Amount(fee.max_fee))
    )
    charged = (300 + len(encode(signed)) + 100) * base_fee
    assert charged <= fee.expected <= charged + 20 * base_fee
    assert fee.max_fee == 2 * fee.expected


def test_every_order_that_spends_is_known() -> None:
    """Every body with an amount of its own counts against the balance before it is signed."""
    free = {"stake_withdraw", "undelegate", "redelegate", "vault_withdraw"}  # what is not in the balance
    for kind in bodies.BODY_KINDS:
        named = {"amount", "stake", "budget"} & set(kind.__struct_fields__)
        if named and kind.KIND not in free:
            fields = dict.fromkeys(kind.__struct_fields__, 0) | dict.fromkeys(named, 77)
            assert spends(kind(**fields)) == 77, kind.KIND


def test_omnit_as_json() -> None:
    assert [omnit(value) for value in (0, 1, NANO, -1_500_000_000, 10**18)] == [
        "0",
        "0.000000001",
        "1",
        "-1.5",
        "1000000000",
    ]


def test_task_ids() -> None:
    assert campaign_number("1234") == campaign_number(1234) == campaign_number(" 1234 ") == 1234


# -- the folder


def test_home_is_private_and_survives_damage(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.profile() == Profile()
    assert not home.folder.exists(), "asking makes nothing"
    home.save_profile(Profile(account="omnit1x"))
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert Home(tmp_path / "home").profile().account == "omnit1x"
    (home.folder / "profile.json").write_text('{"account": 7}')
    with pytest.raises(StorageError, match="can't be read"):
        home.profile()


def test_home_that_can_not_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="OMNITENSOR_HOME"):
        Home(tmp_path / "file" / "home").save_profile(Profile())


def test_home_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNITENSOR_HOME", str(tmp_path / "elsewhere"))
    assert Home().folder == tmp_path / "elsewhere"
    monkeypatch.delenv("OMNITENSOR_HOME")
    assert Home().folder == Path(os.path.expanduser("~")) / ".omnitensor"


# -- drafts

DRAFT = {"title": "Birds", "unit_price": "2", "review_fee": "0.5", "budget": "100"}


def test_draft_becomes_a_spec() -> None:
    spec = draft_from(DRAFT).spec(1_000)
    assert (spec.unit_price, spec.review_fee, spec.closes_at) == (2 * NANO, NANO // 2, 87_400)
    assert (spec.first_seats, spec.second_seats, spec.agree_min_bps) == (5, 11, 7_000)
    strict = draft_from({**DRAFT, "preset": "strict", "first_seats": 9}).spec(0)
    assert (strict.first_seats, strict.second_seats) == (9, 15)


def test_draft_in_toml(tmp_path: Path) -> None:
    (tmp_path / "guide.txt").write_text("A longer document.")
    path = tmp_path / "campaign.toml"
    path.write_text(
        'title = "Birds"\nunit_price = 2.5\nreview_fee = 1\nbudget = "1,000"\nmedia = ["image/*"]\n'
        'specification_file = "guide.txt"\n\n[[categories]]\nname = "owls"\nimportance = 1.5\ntarget = 10\n'
    )
    draft = draft_from_toml(path)
    spec = draft.spec(0)
    assert draft.budget_nano == 1_000 * NANO
    assert spec.unit_price == 2_500_000_000
    assert spec.categories[0].importance_bps == 15_000
    assert spec.specification is not None
    assert spec.specification.size == 18


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"title": ""}, "title"),
        ({"title": "x" * 500}, "title"),
        ({"preset": "lavish"}, "lavish"),
        ({"unit_price": "much"}, "much"),
        ({"media": ["text"]}, "text"),
        ({"media": []}, "media"),
        ({"criterion_weights": [1, 2, 3]}, "criterion_weights"),
        ({"thresholds": [1, 2, 300]}, "thresholds"),
        ({"categories": [{"name": "a"}, {"name": "a"}]}, "categories"),
        ({"instructions": "x" * 5_000}, "instructions"),
        ({"colour": "red"}, "colour"),
        ({"first_seats": 0}, "first_seats"),
        ({"item_bytes_max": 0}, "item_bytes_max"),
        ({"specification_file": "absent.txt"}, "absent.txt"),
        ({"closes_in_blocks": 10**30}, ""),
    ],
)
def test_bad_draft(change: dict[str, object], named: str) -> None:
    from omnitensor.protocol.errors import ProtocolError

    with pytest.raises(ProtocolError) as error:
        draft_from({**DRAFT, **change}).spec(0)
    assert error.value.remedy
    if named in ("first_seats", "item_bytes_max", "title", "media"):
        return
    assert named in str(error.value)


def test_bad_toml(tmp_path: Path) -> None:
    path = tmp_path / "campaign.toml"
    path.write_text("title = ")
    with pytest.raises(InputError, match="no TOML"):
        draft_from_toml(path)
    with pytest.raises(InputError, match="can't be read"):
        draft_from_toml(tmp_path / "absent.toml")


def test_draft_names_its_fields() -> None:
    assert set(DRAFT) <= set(CampaignDraft.__struct_fields__)
