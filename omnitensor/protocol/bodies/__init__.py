"""What a transaction orders: one typed body a kind, with its weight and the scope a session key needs for it. Data only.

One file an area; this page joins them into the one type that a transaction carries.
"""

from typing import Annotated, ClassVar, Final

from msgspec import Meta

from omnitensor.protocol import limits
from omnitensor.protocol.bodies.accounts import SessionKeyAdd, SessionKeyRemove, Transfer
from omnitensor.protocol.bodies.base import SCOPES_ALL, BodyBase, Scope
from omnitensor.protocol.bodies.campaigns import (
    CampaignCancel,
    CampaignClose,
    CampaignFund,
    CampaignOpen,
    CampaignSpec,
    Category,
    ItemAppeal,
    ItemDeclaration,
    PrivateItem,
    SubmissionCommit,
    SubmissionReveal,
)
from omnitensor.protocol.bodies.competitions import CompetitionOpen
from omnitensor.protocol.bodies.evidence import EvidenceSubmit
from omnitensor.protocol.bodies.gold import GoldCommit, GoldOpening, GoldRetire, GoldReveal, GoldSpare
from omnitensor.protocol.bodies.governance import (
    AdmissionChange,
    Content,
    ParameterChange,
    ParameterChanges,
    Payment,
    ProposalCancel,
    ProposalDeposit,
    ProposalSubmit,
    ProposalVote,
    SoftwareUpgrade,
    TextOnly,
    TreasurySpend,
    UpgradeCancel,
    VoteOption,
)
from omnitensor.protocol.bodies.privacy import KeyGrant, KeysGrant, PlainDuplicate, ReadingKeySet
from omnitensor.protocol.bodies.reviews import (
    DuplicateOf,
    ReportCommit,
    ReportContradiction,
    ReportLeak,
    ReportReveal,
    SeatAccept,
    SeatDecline,
)
from omnitensor.protocol.bodies.staking import (
    Delegate,
    Redelegate,
    RewardsClaim,
    StakeAdd,
    StakeWithdraw,
    Undelegate,
    ValidatorEdit,
    ValidatorRegister,
    ValidatorUnjail,
)
from omnitensor.protocol.bodies.vaults import VaultExecute, VaultGrant, VaultOrder, VaultWithdraw
from omnitensor.protocol.bodies.work import (
    JobCancel,
    JobPost,
    JobVote,
    ReceiptVote,
    WorkCommit,
    WorkerBondAdd,
    WorkerEdit,
    WorkerLeave,
    WorkerRegister,
    WorkFraud,
    WorkJudge,
    WorkOutputs,
)
from omnitensor.protocol.multisig import MemberSignature, Policy
from omnitensor.protocol.types import U64, AddressF, HeightF

MULTISIG_SIGNATURE_WEIGHT: Final = 400
"""For each member's signature: a transaction's own costs 300, a receipt included; these are checked one after another."""

Order = (
    Transfer
    | SessionKeyAdd
    | SessionKeyRemove
    | ValidatorRegister
    | ValidatorEdit
    | ValidatorUnjail
    | StakeAdd
    | StakeWithdraw
    | Delegate
    | Undelegate
    | Redelegate
    | RewardsClaim
    | CampaignOpen
    | CampaignFund
    | CampaignClose
    | CampaignCancel
    | GoldCommit
    | GoldReveal
    | GoldRetire
    | ReadingKeySet
    | KeysGrant
    | PlainDuplicate
    | SubmissionCommit
    | SubmissionReveal
    | ItemAppeal
    | SeatAccept
    | SeatDecline
    | ReportCommit
    | ReportReveal
    | ReportLeak
    | ReportContradiction
    | EvidenceSubmit
    | ProposalSubmit
    | ProposalDeposit
    | ProposalVote
    | ProposalCancel
    | VaultGrant
    | VaultWithdraw
    | VaultExecute
    | CompetitionOpen
    | WorkerRegister
    | WorkerBondAdd
    | WorkerLeave
    | WorkerEdit
    | JobPost
    | JobCancel
    | WorkJudge
    | WorkCommit
    | WorkOutputs
    | WorkFraud
)
"""Every kind that an account can order by itself; on the wire an array headed by the kind's tag."""


class MultisigExecute(BodyBase, frozen=True, tag=2):
    """Carries out an order of a multisignature account, which as many members signed as its policy asks for.

    Any account may send it, and pays the fee. It holds no order of its own kind: the accounts of several keys do not nest.
    """

    KIND: ClassVar[str] = "multisig_execute"
    policy: Policy
    account: AddressF
    sequence: U64
    valid_until: HeightF
    order: Order
    signatures: Annotated[
        tuple[MemberSignature, ...], Meta(min_length=1, max_length=limits.multisig_members_max)
    ]

    def weight(self) -> int:
        return 100 + MULTISIG_SIGNATURE_WEIGHT * len(self.signatures) + self.order.weight()


Body = Order | MultisigExecute
"""Every kind of body."""

BODY_KINDS: Final[tuple[type[BodyBase], ...]] = (
    Transfer,
    SessionKeyAdd,
    SessionKeyRemove,
    ValidatorRegister,
    ValidatorEdit,
    ValidatorUnjail,
    StakeAdd,
    StakeWithdraw,
    Delegate,
    Undelegate,
    Redelegate,
    RewardsClaim,
    CampaignOpen,
    CampaignFund,
    CampaignClose,
    CampaignCancel,
    GoldCommit,
    GoldReveal,
    GoldRetire,
    ReadingKeySet,
    KeysGrant,
    PlainDuplicate,
    SubmissionCommit,
    SubmissionReveal,
    ItemAppeal,
    SeatAccept,
    SeatDecline,
    ReportCommit,
    ReportReveal,
    ReportLeak,
    ReportContradiction,
    EvidenceSubmit,
    VaultGrant,
    VaultWithdraw,
    VaultExecute,
    CompetitionOpen,
    MultisigExecute,
    ProposalSubmit,
    ProposalDeposit,
    ProposalVote,
    ProposalCancel,
    WorkerRegister,
    WorkerBondAdd,
    WorkerLeave,
    WorkerEdit,
    JobPost,
    JobCancel,
    WorkJudge,
    WorkCommit,
    WorkOutputs,
    WorkFraud,
)

__all__ = [
    "BODY_KINDS",
    "Body",
    "Order",
    "MultisigExecute",
    "VaultGrant",
    "VaultWithdraw",
    "VaultExecute",
    "VaultOrder",
    "CompetitionOpen",
    "Scope",
    "SCOPES_ALL",
    "BodyBase",
    "Transfer",
    "SessionKeyAdd",
    "SessionKeyRemove",
    "ValidatorRegister",
    "ValidatorEdit",
    "ValidatorUnjail",
    "StakeAdd",
    "StakeWithdraw",
    "Delegate",
    "Undelegate",
    "Redelegate",
    "RewardsClaim",
    "Category",
    "CampaignSpec",
    "CampaignOpen",
    "CampaignFund",
    "CampaignClose",
    "CampaignCancel",
    "GoldCommit",
    "GoldOpening",
    "GoldReveal",
    "GoldRetire",
    "GoldSpare",
    "ReadingKeySet",
    "KeyGrant",
    "KeysGrant",
    "PlainDuplicate",
    "PrivateItem",
    "ItemDeclaration",
    "ItemAppeal",
    "SubmissionCommit",
    "SubmissionReveal",
    "SeatAccept",
    "SeatDecline",
    "ReportCommit",
    "ReportReveal",
    "DuplicateOf",
    "ReportLeak",
    "ReportContradiction",
    "EvidenceSubmit",
    "VoteOption",
    "ParameterChange",
    "ParameterChanges",
    "Payment",
    "TreasurySpend",
    "AdmissionChange",
    "SoftwareUpgrade",
    "UpgradeCancel",
    "TextOnly",
    "Content",
    "ProposalSubmit",
    "ProposalDeposit",
    "ProposalVote",
    "ProposalCancel",
    "WorkerRegister",
    "WorkerBondAdd",
    "WorkerLeave",
    "WorkerEdit",
    "JobPost",
    "JobCancel",
    "WorkJudge",
    "WorkCommit",
    "WorkOutputs",
    "WorkFraud",
    "JobVote",
    "ReceiptVote",
]
