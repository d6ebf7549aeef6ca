"""Everything that a stranger can make grow, and how far: one page; units come last in a name.

The values are not governed by the chain: they protect a node.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# Wire
frame_bytes_max: Final = 1 * MIB
transaction_bytes_max: Final = 128 * KIB
block_bytes_max: Final = 768 * KIB
block_transactions_max: Final = 5_000
proposal_bytes_max: Final = 960 * KIB
vote_bytes_max: Final = 256
certificate_bytes_max: Final = 512

# Consensus
validators_max: Final = 100
justification_certificates_max: Final = 16
views_ahead_max: Final = 64
"""Votes further ahead than this of the current view are dropped; a certificate brings a node that is behind forward."""
view_slots_max: Final = 4_096
standstill_bytes_per_second_max: Final = 256 * KIB

# Text on chain
title_chars_max: Final = 120
instructions_chars_max: Final = 4_000
licence_chars_max: Final = 64
media_type_chars_max: Final = 64
name_chars_max: Final = 64
chain_id_chars_max: Final = 32
reason_chars_max: Final = 200

# Campaigns, submissions, reviews
campaign_media_max: Final = 16
campaign_tiers_max: Final = 8
campaign_categories_max: Final = 64
submission_items_max: Final = 256
batch_items_max: Final = 64
seats_per_round_max: Final = 31
sealed_report_bytes_max: Final = 1_024
session_keys_per_account_max: Final = 32
submissions_open_per_account_max: Final = 64

# Content
chunk_bytes: Final = 1 * MIB
content_bytes_max: Final = 8 * GIB

# Keys and signatures
bls_public_keys_cached_max: Final = 4_096
bls_messages_cached_max: Final = 1_024
bls_message_bytes_cached_max: Final = 128
keystore_bytes_max: Final = 16 * KIB
keystore_scrypt_memory_bytes_max: Final = 256 * MIB
"""What scrypt may take for an imported keystore: 128 * n * r."""
keystore_scrypt_work_max: Final = 2**22
"""n * r * p of an imported keystore: about a second."""
keystore_pbkdf2_rounds_max: Final = 2**20
