"""The SDK: everything that contributors, sponsors and validators do, over JSON-RPC to any node. Keys never leave this process."""

from omnitensor.light import Checkpoint, ProofError, TrustError
from omnitensor.protocol.bodies import VoteOption
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.reviews import Flag, ItemScore
from omnitensor.sdk.batches import DataBatch, DataItem, Judgement, ValidationResults
from omnitensor.sdk.bundles import BundleItem
from omnitensor.sdk.client import AsyncClient, Client
from omnitensor.sdk.computing import AsyncCompute, Compute, Computed, ComputeMoment, Plan
from omnitensor.sdk.contributor import AsyncContributor, Contributor, Moment, Submission
from omnitensor.sdk.epochs import Verified
from omnitensor.sdk.errors import (
    BusyError,
    CampaignStateError,
    ConnectionFailed,
    FileError,
    FundsError,
    InputError,
    NonceUsedError,
    NotFoundError,
    RefusedError,
    ResponseError,
    RpcError,
    SdkError,
    WaitTimeout,
    WrongChainError,
)
from omnitensor.sdk.faults import Fault, FaultsError
from omnitensor.sdk.gold import AsyncGold, Gold
from omnitensor.sdk.gold_run import GoldRunner
from omnitensor.sdk.home import Home
from omnitensor.sdk.multisig import MultisigOrder
from omnitensor.sdk.objections import AsyncObjector, Objector
from omnitensor.sdk.orders import Fee, Order
from omnitensor.sdk.private import AsyncPrivate, Private
from omnitensor.sdk.proposals import ProposalDraft
from omnitensor.sdk.proven import Proven
from omnitensor.sdk.reads import ChainIdentity
from omnitensor.sdk.seats import Submitted
from omnitensor.sdk.specs import CampaignDraft, CategoryDraft
from omnitensor.sdk.sponsor import AsyncSponsor, Opened, Sponsor
from omnitensor.sdk.transport import Retry
from omnitensor.sdk.validator import AsyncValidator, ReviewMoment, Validator
from omnitensor.sdk.wallet import Wallet

__all__ = [
    "AsyncClient",
    "AsyncCompute",
    "AsyncContributor",
    "AsyncGold",
    "AsyncObjector",
    "AsyncPrivate",
    "AsyncSponsor",
    "AsyncValidator",
    "BundleItem",
    "BusyError",
    "CampaignDraft",
    "CampaignStateError",
    "CategoryDraft",
    "ChainIdentity",
    "Checkpoint",
    "Client",
    "Compute",
    "ComputeMoment",
    "Computed",
    "ConnectionFailed",
    "Contributor",
    "DataBatch",
    "DataItem",
    "Fault",
    "FaultsError",
    "Fee",
    "FileError",
    "Flag",
    "FundsError",
    "Gold",
    "GoldRunner",
    "Home",
    "InputError",
    "ItemScore",
    "Judgement",
    "Moment",
    "MultisigOrder",
    "NonceUsedError",
    "NotFoundError",
    "Objector",
    "Opened",
    "Order",
    "Plan",
    "Private",
    "ProofError",
    "ProposalDraft",
    "ProtocolError",
    "Proven",
    "RefusedError",
    "ResponseError",
    "Retry",
    "ReviewMoment",
    "RpcError",
    "SdkError",
    "Sponsor",
    "Submission",
    "Submitted",
    "TrustError",
    "ValidationResults",
    "Validator",
    "Verified",
    "VoteOption",
    "WaitTimeout",
    "Wallet",
    "WrongChainError",
]
