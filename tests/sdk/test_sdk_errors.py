"""What a user does wrong, against a real chain: every fault names the value and the remedy, and nothing was paid for it."""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from omnitensor.protocol.bodies import CampaignOpen, Scope, Transfer
from omnitensor.protocol.errors import KeyFormatError, ProtocolError
from omnitensor.protocol.types import NANO, Amount
from omnitensor.sdk import (
    CampaignStateError,
    ChainIdentity,
    Client,
    ConnectionFailed,
    Contributor,
    FileError,
    FundsError,
    InputError,
    NotFoundError,
    RefusedError,
    ResponseError,
    Retry,
    Sponsor,
    Validator,
    WaitTimeout,
    Wallet,
    WrongChainError,
)
from omnitensor.sdk.specs import draft_from
from omnitensor.sdk.transport import response_bytes_max
from tests.sdk.samples import write_digits, write_texts
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_sdk_story import api_key, open_campaign

pytestmark = pytest.mark.xdist_group("sdk-errors")

Wallets = Callable[[str], Wallet]


@pytest.fixture
def campaign(chain: SmallChain, wallet: Wallets, home: Path) -> int:
    return open_campaign(chain, wallet("sponsor"), home, item_bytes_max=50_000, budget="60")


@pytest.fixture
def contributor(chain: SmallChain, wallet: Wallets, home: Path) -> Iterator[Contributor]:
    with Contributor(wallet("contributor"), endpoint=chain.endpoint, home=home) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_is_paid(chain: SmallChain, request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test here does wrong, the contributor has the same money before and after."""
    before = chain.balance("contributor"), chain.reader().account(_contributor()).nonce
    yield
    assert (chain.balance("contributor"), chain.reader().account(_contributor()).nonce) == before


def _contributor() -> object:
    from tests.state.chain_fixtures import key

    return key("contributor").address


def fault(error: pytest.ExceptionInfo[ProtocolError]) -> tuple[str, str]:
    """Value and remedy, both of which every fault has."""
    assert error.value.value
    assert error.value.remedy
    assert "\n" not in str(error.value)
    return error.value.value, error.value.remedy


def test_absent_file(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file") as error:
        contributor.upload(campaign, [tmp_path / "absent.txt"])
    assert "absent.txt" in fault(error)[0]


def test_empty_file_and_empty_folder(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.touch()
    with pytest.raises(FileError, match="empty") as error:
        contributor.upload(campaign, [empty])
    assert "empty.txt" in fault(error)[0]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".hidden").write_text("x")
    with pytest.raises(FileError, match="no files"):
        contributor.upload(campaign, [tmp_path / "folder"])


def test_file_over_the_limit(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    large.write_text("word " * 20_000)
    with pytest.raises(FileError, match=r"100000 bytes, over the campaign's limit of 50000") as error:
        contributor.upload(campaign, [large])
    fault(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    (path,) = write_texts(tmp_path, 1)
    path.chmod(0)
    with pytest.raises(FileError, match="can't be read"):
        contributor.upload(campaign, [path])


def test_media_type_that_is_not_taken(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    (picture,) = write_digits(tmp_path, 1)
    with pytest.raises(FileError, match="does not take image/png") as error:
        contributor.upload(campaign, [picture])
    assert "text/plain" in fault(error)[1]
    with pytest.raises(FileError, match="declared as text/plain, but its bytes are image/png"):
        contributor.upload(campaign, [picture], media_type="text/plain")
    binary = tmp_path / "program"
    binary.write_bytes(b"\x00\x01\x02" * 100)
    with pytest.raises(FileError, match="neither a known format nor text"):
        contributor.upload(campaign, [binary])
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(FileError, match="does not decode"):
        contributor.upload(campaign, [cut])


def test_same_file_twice(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    (one,) = write_texts(tmp_path, 1)
    two = tmp_path / "other-name.txt"
    two.write_bytes(one.read_bytes())
    with pytest.raises(FileError, match="same bytes") as error:
        contributor.upload(campaign, [one, two])
    assert "other-name" in fault(error)[0]


def test_tier_and_category_that_are_not_there(
    contributor: Contributor, campaign: int, tmp_path: Path
) -> None:
    paths = write_texts(tmp_path, 1)
    with pytest.raises(InputError, match="no such tier") as error:
        contributor.upload(campaign, paths, tier=9)
    assert "1 (1x)" in fault(error)[1]
    with pytest.raises(InputError, match="no such category") as error:
        contributor.upload(campaign, paths, category="poems")
    assert "general" in fault(error)[1]


@pytest.mark.parametrize("task", ["99999", "abc", "-1", "", "1e3", "9" * 40, "１２３４"])
def test_unknown_task(contributor: Contributor, tmp_path: Path, task: str) -> None:
    with pytest.raises(NotFoundError) as error:
        contributor.upload(task, write_texts(tmp_path, 1))
    assert error.value.remedy


def test_closed_campaign(
    chain: SmallChain, wallet: Wallets, home: Path, contributor: Contributor, campaign: int, tmp_path: Path
) -> None:
    with Sponsor(wallet("sponsor"), endpoint=chain.endpoint, home=home) as sponsor:
        sponsor.close_campaign(campaign)
        with pytest.raises(CampaignStateError, match=r"campaign is (closing|closed)") as error:
            contributor.upload(campaign, write_texts(tmp_path, 1))
        fault(error)
        with pytest.raises(CampaignStateError):
            sponsor.close_campaign(campaign)
        with pytest.raises(CampaignStateError):
            sponsor.fund(campaign, "1")
    with (
        Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=home) as validator,
        pytest.raises(CampaignStateError, match="draws no more"),
    ):
        validator.get_data_batch(campaign, timeout_s=600)


def test_campaign_of_somebody_else(chain: SmallChain, wallet: Wallets, home: Path, campaign: int) -> None:
    with Sponsor(wallet("contributor"), endpoint=chain.endpoint, home=home) as stranger:
        with pytest.raises(CampaignStateError, match="only its sponsor") as error:
            stranger.close_campaign(campaign)
        fault(error)


def test_campaign_without_money(contributor: Contributor, campaign: int, tmp_path: Path) -> None:
    small = [path for path in write_texts(tmp_path, 30) if path.stat().st_size < 50_000]
    with pytest.raises(FundsError, match=r"has 60 OMNIT left") as error:
        contributor.upload(campaign, small[:12])
    fault(error)


def test_account_without_money(chain: SmallChain, home: Path, campaign: int, tmp_path: Path) -> None:
    poor = Wallet.generate()
    with Contributor(poor, endpoint=chain.endpoint, home=home) as contributor:
        with pytest.raises(FundsError, match="the account has 0 OMNIT") as error:
            contributor.upload(campaign, write_texts(tmp_path, 1))
        assert fault(error)[0] == poor.text
    with Client(chain.endpoint, home=home) as client, pytest.raises(FundsError, match="this needs"):
        client.transfer(poor, Wallet.generate().address, NANO)
    with Sponsor(poor, endpoint=chain.endpoint, home=home) as sponsor, pytest.raises(FundsError):
        sponsor.open(title="x", unit_price="1", review_fee="1", budget="100")


def test_chain_refuses_what_the_sdk_can_not_know(chain: SmallChain, wallet: Wallets, home: Path) -> None:
    """A final transaction that fails says so with the chain's reason and names the transaction."""
    draft = draft_from({"title": "Too little", "unit_price": "100", "review_fee": "1", "budget": "1000"})
    with Client(chain.endpoint, home=home) as client:
        body = CampaignOpen(draft.spec(client.status().height), Amount(NANO))
        with pytest.raises(RefusedError, match="one item alone reserves") as error:
            client.execute(wallet("sponsor"), body)
    assert error.value.code == "budget"
    assert len(error.value.tx) == 64


def test_wrong_chain(chain: SmallChain, wallet: Wallets, home: Path) -> None:
    other = ChainIdentity("omnitensor-other", "00" * 32)
    with Client(chain.endpoint, chain=other, home=home) as client:
        with pytest.raises(WrongChainError, match="omnitensor-other") as error:
            client.transfer(wallet("contributor"), Wallet.generate().address, 1)
        assert "small-chain" in fault(error)[0]


def test_no_connection(home: Path, wallet: Wallets) -> None:
    fast = Retry(attempts=2, first_delay_s=0.01)
    with Client("http://127.0.0.1:9", home=home, retry=fast) as client:
        with pytest.raises(ConnectionFailed, match="connection refused") as error:
            client.status()
        assert fault(error)[0] == "http://127.0.0.1:9"
    with (
        Client("http://no-such-host.invalid", home=home, retry=fast) as client,
        pytest.raises(ConnectionFailed, match="no machine of this name"),
    ):
        client.status()
    for endpoint in ("ftp://x", "localhost:9644", "http://", "http://host:port", ""):
        if endpoint:
            with pytest.raises(InputError, match="not the address of a node"):
                Client(endpoint, home=home)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>welcome</html>", "no JSON-RPC"),
        (b"", "no JSON-RPC"),
        (b"[" * 100_000, "no JSON-RPC"),
        (b'{"jsonrpc": "2.0", "id": 1}', "neither result nor error"),
        (b'{"jsonrpc": "2.0", "id": 1, "result": {"height": "high"}}', "can't be read"),
        (b" " * (response_bytes_max + 1), "too large"),
    ],
)
def test_not_a_node(home: Path, body: bytes, reason: str) -> None:
    """Whatever a server answers that is no node, the client says so and ends."""

    class Liar(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        with Client(endpoint, home=home) as client, pytest.raises(ResponseError, match=reason):
            client.status()
        server.shutdown()


def test_keys_that_are_none_are_not_repeated() -> None:
    secret = "f" * 63
    with pytest.raises(KeyFormatError) as error:
        Wallet.from_secret(secret)
    assert secret not in str(error.value)
    with pytest.raises(KeyFormatError) as error:
        Validator(api_key="otk1notakey")
    assert "notakey" not in str(error.value)
    with pytest.raises(InputError, match="wallet or an API key"):
        Validator()


def test_api_key_without_account_or_scope(
    chain: SmallChain, wallet: Wallets, home: Path, campaign: int
) -> None:
    from omnitensor.protocol.keys import SigningKey, format_api_key

    with Validator(
        api_key=format_api_key(SigningKey.generate()), endpoint=chain.endpoint, home=home
    ) as unknown:
        with pytest.raises(NotFoundError, match="no account of this chain") as error:
            unknown.get_data_batch(campaign, timeout_s=600)
        fault(error)
    with Client(chain.endpoint, home=home) as client:
        review_only = Wallet.from_api_key(api_key(client, wallet("second"), Scope.REVIEW))
        with pytest.raises(InputError, match="can't order a transfer"):
            client.submit(review_only, Transfer(wallet("v0").address, Amount(1)))
        with Contributor(review_only, endpoint=chain.endpoint, home=home) as contributor:
            texts = write_texts(home.parent / "texts", 1)
            with pytest.raises(ProtocolError, match=r"lacks the scope upload|may not upload"):
                contributor.upload(campaign, texts)


def test_account_that_is_no_validator(chain: SmallChain, wallet: Wallets, home: Path, campaign: int) -> None:
    with Validator(wallet=wallet("contributor"), endpoint=chain.endpoint, home=home) as nobody:
        with pytest.raises(NotFoundError, match="not a registered validator") as error:
            nobody.get_data_batch(campaign, timeout_s=600)
        assert "validator register" in fault(error)[1]


def test_waiting_for_a_seat_ends(chain: SmallChain, wallet: Wallets, home: Path, campaign: int) -> None:
    with (
        Validator(wallet=wallet("v0"), endpoint=chain.endpoint, home=home) as validator,
        pytest.raises(WaitTimeout, match="not drawn"),
    ):
        validator.get_data_batch(campaign, timeout_s=0.3)
