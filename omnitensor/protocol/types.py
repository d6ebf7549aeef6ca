"""Distinct types of the domain and their bounds on the wire.

Knows numbers and byte strings; nothing of what is done with them.
"""

from typing import Annotated, Final, NewType

from msgspec import Meta

U16_MAX: Final = 2**16 - 1
U32_MAX: Final = 2**32 - 1
U64_MAX: Final = 2**64 - 1

NANO: Final = 10**9
"""nanoOMNIT in one OMNIT."""
SUPPLY_MAX: Final = 1_000_000_000 * NANO
"""nanoOMNIT that can ever exist; every amount fits it, and it fits 60 bits."""

BPS: Final = 10_000
"""Basis points in a whole: every ratio in the ledger is an integer over this."""

Amount = NewType("Amount", int)
"""nanoOMNIT, 10**-9 of an OMNIT; 0..SUPPLY_MAX."""
Height = NewType("Height", int)
"""Number of blocks above genesis (genesis is 0)."""
View = NewType("View", int)
"""Attempt to agree on one candidate; 0 is the notarized root of an epoch."""
Epoch = NewType("Epoch", int)
TimeMs = NewType("TimeMs", int)
"""Milliseconds since the Unix epoch, UTC."""
Weight = NewType("Weight", int)
"""Work that a transaction costs a node; the unit that the base fee prices."""

Hash = NewType("Hash", bytes)
"""32 bytes of tagged SHA-256."""
Address = NewType("Address", bytes)
"""33 bytes: version byte, then an Ed25519 public key (version 0), or a hash: of several keys and
how many must sign (version 1), of a vault's number (version 2)."""
PublicKey = NewType("PublicKey", bytes)
"""32 bytes of an Ed25519 public key."""
Signature = NewType("Signature", bytes)
"""64 bytes of an Ed25519 signature."""
BlsPublicKey = NewType("BlsPublicKey", bytes)
"""48 bytes, compressed G1."""
BlsSignature = NewType("BlsSignature", bytes)
"""96 bytes, compressed G2."""

CampaignId = NewType("CampaignId", int)
"""Consecutive number of a campaign; as decimal text it is the ``task_id`` of the SDK and the CLI."""
BatchId = NewType("BatchId", int)
"""Consecutive number of a batch, over all campaigns."""
ItemId = NewType("ItemId", int)
"""Consecutive number of an item, over all campaigns."""
ProposalId = NewType("ProposalId", int)
"""Consecutive number of a proposal of governance."""
ParameterNumber = NewType("ParameterNumber", int)
"""Number in a parameter's value, 64 bits: as text in JSON, since it may be an amount."""

ADDRESS_BYTES: Final = 33
ACCOUNT_VERSION: Final = 0
MULTISIG_VERSION: Final = 1
VAULT_VERSION: Final = 2
ZERO_HASH: Final = Hash(bytes(32))

# Field types: what a decoder accepts. Constructing a record does not check them, decoding does.
U16 = Annotated[int, Meta(ge=0, le=U16_MAX)]
U32 = Annotated[int, Meta(ge=0, le=U32_MAX)]
U64 = Annotated[
    int, Meta(ge=0)
]  # msgpack has no integers above 2**64-1, and the decoder takes bounds in 63 bits only
Bps = Annotated[int, Meta(ge=0, le=BPS)]
AmountF = Annotated[Amount, Meta(ge=0, le=SUPPLY_MAX)]
HeightF = Annotated[Height, Meta(ge=0)]
ViewF = Annotated[View, Meta(ge=0)]
EpochF = Annotated[Epoch, Meta(ge=0)]
TimeMsF = Annotated[TimeMs, Meta(ge=0, le=2**53)]
WeightF = Annotated[Weight, Meta(ge=0)]
CampaignIdF = Annotated[CampaignId, Meta(ge=0)]
BatchIdF = Annotated[BatchId, Meta(ge=0)]
ItemIdF = Annotated[ItemId, Meta(ge=0)]
ProposalIdF = Annotated[ProposalId, Meta(ge=0)]
ParameterNumberF = Annotated[ParameterNumber, Meta(ge=0)]
HashF = Annotated[Hash, Meta(min_length=32, max_length=32)]
AddressF = Annotated[Address, Meta(min_length=33, max_length=33)]
PublicKeyF = Annotated[PublicKey, Meta(min_length=32, max_length=32)]
SignatureF = Annotated[Signature, Meta(min_length=64, max_length=64)]
BlsPublicKeyF = Annotated[BlsPublicKey, Meta(min_length=48, max_length=48)]
BlsSignatureF = Annotated[BlsSignature, Meta(min_length=96, max_length=96)]
