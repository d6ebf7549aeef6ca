"""Orders as people write them: every kind comes back from its own form, and what is no order is refused by name."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omnitensor.protocol import bodies
from omnitensor.protocol.codec import encode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.keys import SigningKey, format_address
from omnitensor.protocol.types import SUPPLY_MAX, Address, Amount, CampaignId
from omnitensor.sdk.errors import InputError
from omnitensor.sdk.forms import KINDS, body_from, fields_of, values_of
from omnitensor.sdk.orders import signings_max, spends

ANN, VAULT = format_address(SigningKey(bytes(32)).address), format_address(Address(b"\2" + bytes(32)))
EXAMPLES: tuple[bodies.Order, ...] = (
    bodies.Transfer(SigningKey(bytes(32)).address, Amount(12_500_000_001)),
    bodies.StakeAdd(Amount(SUPPLY_MAX)),
    bodies.ValidatorEdit(None, None, None, "a name = with signs"),
    bodies.CampaignClose(CampaignId(7)),
    bodies.CompetitionOpen(CampaignId(7), Amount(10**11), 1, (6_000, 4_000)),
    bodies.Undelegate(SigningKey(bytes(32)).address, None),
    bodies.VaultExecute(
        Address(b"\2" + bytes(32)), bodies.Delegate(SigningKey(bytes(32)).address, Amount(5))
    ),
)


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: body.KIND)
def test_a_form_makes_the_same_order_again(body: bodies.Order) -> None:
    """Also by way of JSON, and of texts as they stand on a command line."""
    shown = fields_of(body)
    assert body_from(body.KIND, json.loads(json.dumps(shown))) == body
    typed = [f"{name}={each if isinstance(each, str) else json.dumps(each)}" for name, each in shown.items()]
    assert body_from(body.KIND, values_of(typed)) == body
    assert encode(body_from(body.KIND, shown)) == encode(body)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("multisig_execute", {}, "no such kind"),
        ("transfer", {"to": ANN}, "needs amount"),
        ("transfer", {"to": ANN, "amount": "1.0000000001"}, "not an amount"),
        ("transfer", {"to": ANN, "amount": "1", "fee": "2"}, "no such value"),
        ("transfer", {"to": ANN[:-1], "amount": "1"}, "not an address"),
        ("campaign_close", {"campaign": "-1"}, "not a valid"),
        ("campaign_close", {"campaign": "true"}, "can't be read"),
        ("campaign_close", {"campaign": "1.5"}, "can't be read"),
        ("campaign_close", {"campaign": "[" * 300}, "neither a number nor JSON"),
        ("competition_open", {"campaign": 1, "pool": "1", "rule": 1, "shares_bps": "5"}, "is a list"),
        ("competition_open", {"campaign": 1, "pool": "1", "rule": 1, "shares_bps": [20_000]}, "not a valid"),
        (
            "vault_execute",
            {"vault": VAULT, "order": {"kind": "transfer", "to": ANN, "amount": "1"}},
            "can't be a transfer",
        ),
        ("vault_execute", {"vault": VAULT, "order": {"to": ANN}}, "no such kind"),
        ("vault_execute", {"vault": VAULT, "order": "zz"}, "hexadecimal"),
        ("vault_execute", {"vault": VAULT, "order": "c0"}, "can't be read"),
    ],
)
def test_what_is_no_order_is_refused(kind: str, values: dict[str, object], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        body_from(kind, values)


TEXTS = st.one_of(
    st.text(max_size=20), st.integers(), st.none(), st.lists(st.integers(), max_size=3), st.booleans()
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(KINDS)), draw=st.data())
def test_whatever_is_given_makes_an_order_or_a_typed_error(kind: str, draw: st.DataObject) -> None:
    names = KINDS[kind].__struct_fields__
    values = {name: draw.draw(TEXTS) for name in names if draw.draw(st.booleans())}
    try:
        body = body_from(kind, values)
    except ProtocolError:
        return
    assert kind == body.KIND


def test_values_are_named_once() -> None:
    assert values_of(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError):
            values_of(wrong)


def test_a_vaults_order_is_signed_once() -> None:
    """Signed anew for a first one that was not dead, it would be carried out twice."""
    order = EXAMPLES[-1]
    assert spends(order) == 0
    assert signings_max(order) == 1
