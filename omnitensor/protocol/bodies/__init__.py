"""What a transaction orders: one typed body a kind, with its weight and the scope a session key needs for it. Data only.

One file an area; this page joins them into the one type that a transaction carries.
"""

from typing import Final

from omnitensor.protocol.bodies.accounts import SessionKeyAdd, SessionKeyRemove, Transfer
from omnitensor.protocol.bodies.base import SCOPES_ALL, BodyBase, Scope
from omnitensor.protocol.bodies.campaigns import (
    CampaignClose,
    CampaignFund,
    CampaignOpen,
    CampaignSpec,
    Category,
    ItemDeclaration,
    SubmissionCommit,
    SubmissionReveal,
)
from omnitensor.protocol.bodies.evidence import EvidenceSubmit
from omnitensor.protocol.bodies.reviews import ReportCommit, ReportReveal, SeatAccept, SeatDecline
from omnitensor.protocol.bodies.staking import StakeAdd, StakeWithdraw, ValidatorEdit, ValidatorRegister

Body = (
    Transfer
    | SessionKeyAdd
    | SessionKeyRemove
    | ValidatorRegister
    | ValidatorEdit
    | StakeAdd
    | StakeWithdraw
    | CampaignOpen
    | CampaignFund
    | CampaignClose
    | SubmissionCommit
    | SubmissionReveal
    | SeatAccept
    | SeatDecline
    | ReportCommit
    | ReportReveal
    | EvidenceSubmit
)
"""Every kind of body; on the wire an array headed by the kind's tag."""

BODY_KINDS: Final[tuple[type[BodyBase], ...]] = (
    Transfer,
    SessionKeyAdd,
    SessionKeyRemove,
    ValidatorRegister,
    ValidatorEdit,
    StakeAdd,
    StakeWithdraw,
    CampaignOpen,
    CampaignFund,
    CampaignClose,
    SubmissionCommit,
    SubmissionReveal,
    SeatAccept,
    SeatDecline,
    ReportCommit,
    ReportReveal,
    EvidenceSubmit,
)

__all__ = [
    "BODY_KINDS",
    "Body",
    "Scope",
    "SCOPES_ALL",
    "BodyBase",
    "Transfer",
    "SessionKeyAdd",
    "SessionKeyRemove",
    "ValidatorRegister",
    "ValidatorEdit",
    "StakeAdd",
    "StakeWithdraw",
    "Category",
    "CampaignSpec",
    "CampaignOpen",
    "CampaignFund",
    "CampaignClose",
    "ItemDeclaration",
    "SubmissionCommit",
    "SubmissionReveal",
    "SeatAccept",
    "SeatDecline",
    "ReportCommit",
    "ReportReveal",
    "EvidenceSubmit",
]
