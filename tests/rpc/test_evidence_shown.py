"""chain.evidence over a socket: what the node holds, and what was proved on chain."""

from __future__ import annotations

from msgspec.structs import replace

from omnitensor.protocol import bls
from omnitensor.protocol.bodies import EvidenceSubmit
from omnitensor.protocol.codec import encode
from omnitensor.protocol.evidence import ConflictingVotes
from omnitensor.protocol.keys import format_address
from omnitensor.protocol.types import BlsSignature, Epoch, Hash, View
from omnitensor.protocol.votes import Vote, VoteKind
from tests.rpc.world import Client, TestBackend
from tests.state.chain_fixtures import CHAIN_ID, consensus_secret, key

SPONSOR = key("a0")


def double_vote(backend: TestBackend) -> ConflictingVotes:
    """Two NOTARIZE of the validator at index 0, rightly signed."""
    public = backend.validator_table.entries[0].consensus_key
    name = next(name for name in ("v0", "v1", "v2", "v3") if bls.sk_to_pk(consensus_secret(name)) == public)
    votes = []
    for letter in (b"a", b"b"):
        vote = Vote(VoteKind.NOTARIZE, Epoch(0), View(7), Hash(letter * 32), 0, BlsSignature(bytes(96)))
        votes.append(replace(vote, signature=bls.sign(consensus_secret(name), vote.message(CHAIN_ID))))
    return ConflictingVotes.of(*votes)


async def test_evidence_is_shown_while_it_waits_and_when_it_is_on_chain(
    client: Client, backend: TestBackend
) -> None:
    found = await client.call("chain.evidence")
    assert found == {"pool": [], "convictions": [], "workers": [], "next": None}
    evidence = double_vote(backend)
    backend.evidence_held = (evidence,)
    culprit = format_address(backend.validator_table.entries[0].address)
    (held,) = (await client.call("chain.evidence"))["pool"]
    assert held == {
        "id": evidence.id.hex(),
        "kind": "votes",
        "fault": "notarize_twice",
        "epoch": 0,
        "view": 7,
        "validators": [culprit],
        "encoded": encode(evidence).hex(),
    }
    before = await client.call("stake.validator", address=culprit)
    assert before["removed"] is False
    committed = backend.commit((SPONSOR, EvidenceSubmit(evidence)))
    assert committed.result.receipts[-1].ok, committed.result.receipts
    backend.evidence_held = ()
    after = await client.call("chain.evidence", limit=1)
    assert after["pool"] == []
    assert after["next"] is None
    (row,) = after["convictions"]
    slashed = int(before["stake"]) * 5 // 100
    assert (row["validator"], row["evidence"], row["height"]) == (culprit, evidence.id.hex(), 1)
    assert (row["slashed"], row["burned"], row["reward"]) == (
        str(slashed),
        str(slashed // 2),
        str(slashed // 10),
    )
    assert row["reporter"] == format_address(SPONSOR.address)
    assert (await client.call("stake.validator", address=culprit))["removed"] is True
