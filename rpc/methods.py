"""All methods of the node, in one table: importing this module fills it. Holds no method itself."""

from rpc import (
    methods_account,
    methods_campaign,
    methods_chain,
    methods_evidence,
    methods_facts,
    methods_governance,
    methods_jobs,
    methods_light,
    methods_multisig,
    methods_node,
    methods_privacy,
    methods_report,
    methods_review,
    methods_season,
    methods_similar,
    methods_stake,
    methods_state,
    methods_tx,
    methods_vault,
    methods_work,
)
from rpc.table import TABLE, MethodTable

MODULES = (
    methods_chain,
    methods_tx,
    methods_account,
    methods_stake,
    methods_campaign,
    methods_review,
    methods_similar,
    methods_report,
    methods_facts,
    methods_privacy,
    methods_evidence,
    methods_governance,
    methods_state,
    methods_light,
    methods_multisig,
    methods_vault,
    methods_season,
    methods_work,
    methods_jobs,
    methods_node,
)

__all__ = ["MODULES", "TABLE", "MethodTable"]
