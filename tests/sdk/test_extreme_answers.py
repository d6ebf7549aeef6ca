"""A node answers with each value in turn at the extremes of JSON: whatever the client makes of it, it is a typed error."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.config import parse_count
from omnitensor.protocol.amounts import whole_number
from omnitensor.protocol.errors import ProtocolError
from omnitensor.sdk import Client, InputError, ResponseError, Retry
from omnitensor.sdk.bundles import choose_category
from omnitensor.sdk.faults import FaultsError
from omnitensor.sdk.gold_files import answers_in
from omnitensor.sdk.models.from_tensors import _order
from omnitensor.sdk.results import Receipt, TransactionResult
from omnitensor.sdk.specs import draft_from, draft_from_toml, template
from omnitensor.sdk.sponsor import _campaign_in
from tests.sdk.liar import Liar
from tests.sdk.moving_chain import EPOCH_BLOCKS, checkpoint
from tests.sdk.small_chain import SmallChain
from tests.state.chain_fixtures import key

pytestmark = pytest.mark.xdist_group("follow-epochs")

NUMBERS = (0, 2**63, 2**64 - 1, 2**64, -(2**70), 0.5, "9" * 4_000)
TEXTS = ("", "9" * 4_000, "f" * 64, "\u0663", "\0", 2**64)
OTHERS: tuple[Any, ...] = (None, [], {}, {"x": 1})


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where there is something in an answer; of a list's elements the first."""
    yield at
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for name, each in inner:
        yield from places(each, (*at, name))


def replaced(value: Any, at: tuple[str | int, ...], new: Any) -> Any:
    if not at:
        return new
    changed = copy.copy(value)
    changed[at[0]] = replaced(changed[at[0]], at[1:], new)
    return changed


def extremes_of(value: Any) -> tuple[Any, ...]:
    if isinstance(value, int) and not isinstance(value, bool):
        return NUMBERS
    return TEXTS if isinstance(value, str) else OTHERS


WHO = key("contributor").address
ASKS: dict[str, Callable[[Client, str], Any]] = {
    "chain.status": lambda client, _: client.status(),
    "chain.params": lambda client, _: client.params(),
    "chain.validators": lambda client, _: client.validator_table().hash,
    "chain.block": lambda client, _: client.proven_header(1),
    "light.steps": lambda client, _: client.verified_head(),
    "state.row": lambda client, _: client.proven_account(WHO),
    "tx.get": lambda client, sent: client.proven_receipt(sent),
    "account.get": lambda client, _: client.account(WHO),
    "account.rewards": lambda client, _: client.rewards(WHO),
    "stake.validators": lambda client, _: client.validators(),
    "campaign.list": lambda client, _: client.campaigns(),
    "vault.list": lambda client, _: client.vaults(WHO),
    "tx.by_address": lambda client, _: client.transactions(key("v1").address),
}


@pytest.mark.parametrize("method", ASKS)
def test_no_answer_is_a_fault_of_the_client(
    moving_chain: SmallChain, liar: Liar, home: Path, method: str
) -> None:
    seen, faults, ask = dict[str, Any](), list[str](), ASKS[method]

    def remember(name: str, params: dict[str, Any], result: Any) -> Any:
        seen.setdefault(name, result)
        return result

    liar.change = remember
    start = checkpoint(moving_chain, (moving_chain.chain.epoch - 1) * EPOCH_BLOCKS)
    once = Retry(attempts=1)
    with Client(liar.endpoint, checkpoint=start, retry=once) as client:
        sent = client.transactions(key("v1").address)[0][-1]["id"]
        ask(client, sent)
    honest = seen[method]
    for at in places(honest):
        value = honest
        for name in at:
            value = value[name]
        for new in extremes_of(value):
            lie = replaced(honest, at, new)
            liar.change = lambda name, _, result, lie=lie: lie if name == method else result  # type: ignore[misc]
            with Client(liar.endpoint, checkpoint=start, retry=once) as client:
                try:
                    ask(client, sent)
                except ProtocolError:
                    continue
                except Exception as error:
                    faults.append(f"{at} {str(new)[:40]!r}: {error!r}"[:300])
    assert not liar.faults
    assert not faults, "\n".join(faults)


NO_NUMBERS = ("\u00b2", "9" * 5_000, "-1", "", "1e3")
"""Python calls the first of them a digit, and reads no number of the second's length."""


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_texts_that_are_no_numbers(text: str, tmp_path: Path) -> None:
    assert whole_number(text) is None
    spec = SimpleNamespace(categories=(SimpleNamespace(name="any"),))
    with pytest.raises(InputError, match="no such category"):
        choose_category(spec, text)  # type: ignore[arg-type]  # all that is looked at
    with pytest.raises(ValueError, match="whole number"):
        parse_count(text)
    assert _order(f"layer{text}.2") != _order("layer.10")
    (tmp_path / "x.txt").write_text("x")
    for path, complaint in (("a\0", "beside"), ("a" * 5_000, "no such file"), ("x.txt", "tier is a number")):
        (tmp_path / "gold.json").write_text(json.dumps([{"path": path, "pass": "yes", "tier": text}]))
        with pytest.raises(FaultsError, match=complaint):
            answers_in(tmp_path / "gold.json")


def test_a_receipt_that_names_no_campaign_by_number() -> None:
    for fields in (None, [], {"campaign": []}, {"campaign": "9" * 5_000}, {"campaign": -1}):
        receipt = Receipt(code="ok", events=[{"kind": "campaign.opened", "fields": fields}])
        found = TransactionResult(id="ab", status="final", receipt=receipt)
        with pytest.raises(ResponseError, match="does not name"):
            _campaign_in(found)


@pytest.mark.parametrize(
    "line",
    ["unit_price = " + "9" * 5_000, "unit_price = 0x" + "f" * 5_000, "a." * 2_000 + "b = 1", "[" * 3_000],
)
def test_a_campaigns_file_that_is_too_much_to_read(line: str, tmp_path: Path) -> None:
    (tmp_path / "campaign.toml").write_text(line)
    with pytest.raises(InputError):
        draft_from_toml(tmp_path / "campaign.toml")


@pytest.mark.parametrize("factor", [math.inf, -math.inf, math.nan, 1e308, 0, 2**64])
def test_a_factor_that_is_none(factor: float) -> None:
    fields = tomllib.loads(template())
    fields["categories"][0]["importance"] = factor
    with pytest.raises(InputError, match="importance"):
        draft_from(fields)
