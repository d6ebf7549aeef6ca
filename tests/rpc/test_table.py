"""The table of methods and what is made from it: the document, the specification's list, and a test for every row."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omnitensor.protocol import bodies
from omnitensor.protocol.blocks import Event, Header
from omnitensor.protocol.params import Params
from omnitensor.protocol.votes import FinalityProof
from rpc import openrpc, present
from rpc.errors import ERRORS
from rpc.methods import TABLE

ROOT = Path(__file__).resolve().parents[2]
METHODS = sorted(method.name for method in TABLE)
CONTRACT = """
chain.status chain.params chain.block chain.blocks chain.events chain.evidence chain.validators chain.supply
tx.submit tx.get tx.by_address
account.get
account.session account.rewards stake.validators stake.validator campaign.list campaign.get item.list item.get submission.get
item.facts
review.assignments review.batch review.sealed review.similar
private.key private.item private.seat private.wanted
p2p.peers node.info subscribe.open subscribe.close rpc.discover state.row
light.steps governance.proposals governance.proposal governance.tally governance.votes governance.params governance.upgrades
account.multisig vault.get vault.list season.get season.list season.leaderboard season.standing account.badges
campaign.leaderboard competition.get competition.list
campaign.batches account.items review.record
work.status work.worker work.workers work.receipt work.receipts jobs.get jobs.list jobs.units jobs.outputs
stake.delegation stake.delegations stake.delegators stake.undelegations stake.redelegations stake.rewards stake.apr
""".split()


def test_every_promised_method_is_there() -> None:
    assert sorted(CONTRACT) == METHODS


@pytest.mark.parametrize("name", METHODS)
def test_some_test_calls_it_over_a_socket(name: str) -> None:
    """Looks into the sources of this folder's tests, so that it holds in whatever order and process they run."""
    calls = {"call", "ask", "fault"}
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in calls
            ):
                found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    assert name in found


def test_document_is_current() -> None:
    written = (ROOT / "docs" / "openrpc.json").read_text(encoding="utf-8")
    assert written == openrpc.document_text(TABLE), "write it anew: python -m rpc.openrpc"


def test_list_in_the_specification_is_current() -> None:
    written = (ROOT / "docs" / "specification" / "rpc.md").read_text(encoding="utf-8")
    assert written == openrpc.with_list(written, TABLE), "write it anew: python -m rpc.openrpc"


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(inner) for inner in value)) if isinstance(value, list) else set()


def test_document_is_whole() -> None:
    document = openrpc.document(TABLE)
    assert document["openrpc"].startswith("1.")
    assert [method["name"] for method in document["methods"]] == METHODS
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    for method in document["methods"]:
        assert method["summary"].endswith(".")
        assert "schema" in method["result"]
        names = [param["name"] for param in method["params"]]
        assert len(names) == len(set(names))
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "by position, what must be given comes first"
    block = next(method for method in document["methods"] if method["name"] == "chain.block")
    assert [param["name"] for param in block["params"]] == ["height", "hash", "history"]


def test_numbers_of_errors_are_in_their_range() -> None:
    assert all(-32099 <= number <= -32000 for number in ERRORS)


@pytest.mark.parametrize("kind", [*bodies.BODY_KINDS, bodies.CampaignSpec, Params, Header, FinalityProof])
def test_every_record_can_be_shown(kind: type) -> None:
    """Making the presenter looks at every field's type, and refuses one that it does not know."""
    assert callable(present._show_record(kind))


NUMBERS_IN_EVENTS = frozenset(
    "batch campaign closeness_bps commission_bps commit_until contributors count draw_at due epoch gold_until item items new_key"
    " overall proposal until quality_bps reports reveal_from reveal_until round scopes sequence size valid_until validators"
    " attendance_bps epochs view".split()
)
WORDS_IN_EVENTS = frozenset(
    "account appellant cause chunk_root code commitment content contributor depositor evidence fault finder key media_type name"
    " option order owner proposer reason reasons reporter root source sponsor state status table target title to validator"
    " voter".split()
)

OF_VAULTS_AND_SEASONS = frozenset(
    "granter holder vault cliff_ms end_ms start_ms season role rank competition badge of".split()
)
"""Numbers and words of these two areas."""
OF_WORK = frozenset("worker poster views job unit challenger row outcome macs credit bits".split())


def test_every_field_of_every_event_is_known_as_an_amount_or_not() -> None:
    """The ledger's events have untyped fields; one that holds money must become text in JSON."""
    named: dict[str, str] = {}
    for path in (ROOT / "state" / "ledger").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "event":
                named |= {word.arg: f"{path.name}:{node.lineno}" for word in node.keywords if word.arg}
    assert named.keys() >= {"amount", "campaign", "item"}
    known = present.AMOUNTS_IN_EVENTS | NUMBERS_IN_EVENTS | WORDS_IN_EVENTS | OF_VAULTS_AND_SEASONS | OF_WORK
    unknown = {name: place for name, place in named.items() if name not in known}
    assert not unknown, f"say in rpc/present.py or here what these are: {unknown}"


def test_events_are_shown_by_kind_of_value() -> None:
    address = b"\x00" + bytes(32)
    event = Event("x.y", (("amount", 10**18), ("item", 5), ("to", address), ("key", b"\xab"), ("why", "so")))
    assert present.event(event) == {
        "kind": "x.y",
        "amount": str(10**18),
        "item": 5,
        "to": present.address_text(address),  # type: ignore[arg-type]
        "key": "ab",
        "why": "so",
    }


def test_arguments_by_position_agree_with_the_document() -> None:
    for method in TABLE:
        fields = [field.name for field in msgspec.structs.fields(method.params)]
        assert list(method.names) == fields
