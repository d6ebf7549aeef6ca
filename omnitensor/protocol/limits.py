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
content_charge_bytes_min: Final = 8 * KIB
"""What the smallest content counts against a quota: a folder and two files."""
content_owner_bytes_max: Final = 16 * GIB
"""What one account may have in a node's store that no submission refers to yet."""
content_unreferenced_share_max: Final = 2
"""All accounts together may fill one part in this many of the store with what no submission refers to."""
uploads_cached_max: Final = 64
upload_authorisation_ms_max: Final = 24 * 60 * 60 * 1_000
"""How far ahead an order to upload may end."""
upload_tokens_max: Final = 4_096
media_text_bytes_max: Final = 64 * MIB
"""Text beyond this is taken as it is, without counting its characters."""
image_pixels_max: Final = 24_000_000
image_frames_max: Final = 1_000
fetch_peers_max: Final = 8
fetch_requests_per_peer_max: Final = 4
fetch_strikes_max: Final = 3
"""Wrong or missing answers of one peer before a fetch asks it no more."""

# RPC
rpc_body_bytes_max: Final = 1 * MIB
rpc_response_bytes_max: Final = 8 * MIB
rpc_batch_calls_max: Final = 100
rpc_depth_max: Final = 16
rpc_id_chars_max: Final = 128
rpc_connections_max: Final = 512
rpc_websockets_max: Final = 128
rpc_websockets_per_client_max: Final = 32
rpc_subscriptions_max: Final = 16
"""Subscriptions of one WebSocket."""
rpc_queue_events_max: Final = 1_024
"""Messages that wait for a slow WebSocket before it is dropped."""
rpc_calls_per_second_max: Final = 2_000
rpc_calls_burst_max: Final = 8_000
rpc_clients_tracked_max: Final = 4_096
rpc_heavy_calls_max: Final = 4
"""Heavy reads at one time; more of them wait."""
rpc_page_max: Final = 100
rpc_page_default: Final = 50
rpc_timeout_ms: Final = 30_000
rpc_fetch_timeout_ms: Final = 120_000
rpc_uploads_max: Final = 64
"""Chunks being received at one time."""

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

# Network: frames and messages
noise_message_bytes_max: Final = 65_535
"""Noise's own bound on a message, its tag of 16 bytes included."""
handshake_message_bytes_max: Final = 1 * KIB
node_name_chars_max: Final = 64
host_chars_max: Final = 253
transaction_ids_per_message_max: Final = 1_024
transactions_per_message_max: Final = 512
gossip_ids_per_message_max: Final = 1_024
blocks_per_response_max: Final = 64
blocks_response_bytes_max: Final = 900 * KIB
"""Encoded blocks in one answer; the rest of the frame is for headers and the proof."""
header_links_max: Final = 64
"""Headers that lead from the last block of an answer up to the block that its proof finalizes."""
certificates_per_message_max: Final = 64
peer_addresses_per_message_max: Final = 64
leaf_hashes_per_message_max: Final = 8_192
"""All leaves of the largest content."""
piece_bytes_max: Final = 256 * KIB
"""A chunk travels in pieces of this, so that it leaves room in a frame and never holds up a vote for long."""

# Network: peers
peer_charge_points_max: Final = 100
"""A peer whose charges add up to this is dropped and banned for `peer_ban_ms`."""
peer_ban_ms: Final = 10 * 60 * 1_000

# Staking
unbonding_per_validator_max: Final = 32
"""Withdrawals of one validator that may wait for payment at once."""
unbonding_paid_per_block_max: Final = 200
"""Withdrawals paid at the end of one block; the rest follow in the next."""
