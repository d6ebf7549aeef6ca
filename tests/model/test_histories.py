"""Long random histories of all kinds of orders against the model; `make histories` plays longer ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from omnitensor.protocol.bodies import BODY_KINDS, Transfer
from omnitensor.protocol.transactions import unsigned
from omnitensor.protocol.types import Amount, Height
from tests.model.chain import Model
from tests.model.compare import NOT_MODELLED, unmodelled
from tests.model.histories import ends, history
from tests.model.orders import TRIED
from tests.model.scene import CHAIN, PARAMS_OF_SCENE, address_of, key_of

ROOT = Path(__file__).resolve().parents[2]
OUTCOMES = """
ok address amount balance -address -balance -block_full -chain_id -expired -max_fee -nonce -session_expired -session_scope
-session_allowance -session_tip session_allowance -signer -valid_until
session_expired session_is_account session_taken session_limit session_unknown
validator_exists validator_removed validator_unknown stake_min consensus_key_taken possession stake unbonding_limit
commission_step commission_wait not_jailed jail_time
evidence_bitmap evidence_epoch evidence_form evidence_known evidence_old evidence_quorum evidence_signature
budget campaign_closed campaign_spec campaign_unknown not_sponsor
submission_done submission_exists submission_items submission_unknown submissions_open
category category_full commitment contributor_share escrow item_size media_type reveal_early tier
multisig_account multisig_expired multisig_members multisig_sequence multisig_signature multisig_signatures multisig_threshold
delegation delegation_limit delegation_min delegation_own delegation_unknown redelegation_limit redelegation_same
redelegation_under_way rewards_none undelegation_limit validator_not_admitted
schedule vault_locked vault_unknown
deposit proposal_not_pending proposal_not_voting proposal_unknown proposals_open proposer reserve admission upgrade parameter
vote_option vote_without_stake
campaign_cancelled item_unknown appeal_closed appeal_last appeal_whose second_round
gold_bond gold_closed gold_exists gold_in_use gold_item gold_proof gold_unknown gold_used
contradiction leak_late leak_own duplicate_reference
competition_pool competition_rule
item_private not_validator reading_key grants_open grant_seat grant_late grant_whose grant_exists
duplicate_order duplicate_proof duplicate_late
job_place
unit_full unit_shown unit_assigned outputs_early outputs_root outputs_shown
batch_unknown no_seat seat_late seat_state commit_closed report reveal_closed
""".split()

PROPOSALS = ("executed", "rejected", "vetoed", "no_quorum", "expired", "cancelled")
WORKER_CONVICTED = "a worker convicted, and its reporter paid"
SEEDS_MAX = 24
"""A few are enough, mostly."""


@pytest.mark.slow
def test_histories_come_out_as_the_model_says() -> None:
    """Every kind and every code of the specification is met: rules that never fire prove nothing."""
    wanted = {WORKER_CONVICTED, *OUTCOMES, *PROPOSALS, *(f"{kind} ok" for kind in TRIED)}
    for seed in range(1, SEEDS_MAX + 1):
        params = replace(PARAMS_OF_SCENE, validator_admission=seed % 2)
        scene = history(seed, 4_000, params=params)
        wanted -= {code for _, code in scene.outcomes}
        wanted -= {f"{kind} ok" for kind, code in scene.outcomes if code == "ok"}
        paid = any(row["reward"] for row in scene.model.worker_convictions.values())
        wanted -= {WORKER_CONVICTED} if paid else set()
        wanted -= set(ends(scene).replace(",", "").split())
        if not wanted:
            return
    assert sorted(wanted) == []


def test_histories_are_told_apart_by_their_chain() -> None:
    """The same order on another chain is another transaction: a replay would not pass for another chain's."""
    sender = address_of("ann")
    ids = {
        unsigned(
            chain_id=chain,
            sender=sender,
            nonce=0,
            valid_until=Height(9),
            max_fee=Amount(1),
            tip=Amount(0),
            body=Transfer(sender, Amount(1)),
            signer=key_of("ann"),
        ).id
        for chain in (CHAIN, "other-1")
    }
    assert len(ids) == 2


NOT_TRIED: dict[str, str] = {}
"""Kinds that the model does not know, each with the reason why."""


def test_every_kind_has_its_orders() -> None:
    """A new kind is whole when `tests/model` plays it; until then it stands in `NOT_TRIED`."""
    assert {body.KIND for body in BODY_KINDS} == {*TRIED, *NOT_TRIED}


def test_every_table_of_the_state_is_modelled() -> None:
    """So is a new table; until then it stands in `NOT_MODELLED`, with the reason why."""
    assert unmodelled() == []
    assert all(NOT_MODELLED.values())


def test_areas_of_the_model_do_not_hide_one_another() -> None:
    names = [
        name
        for area in Model.__mro__[1:-1]
        for name in area.__dict__
        if not name.startswith("__") and name != "open"
    ]
    assert sorted(names) == sorted(set(names))


def test_a_seed_gives_one_root_whatever_the_order_of_hashes() -> None:
    """Nothing hangs on the order in which a process iterates over sets, which differs from one process to the next."""
    roots = set()
    for hash_seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, "-m", "tests.model", "--seed", "5", "--transactions", "1500", "--few"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        roots.add(said.stdout.strip().splitlines()[-1])
    assert len(roots) == 1
    assert roots.pop().startswith("final root ")
