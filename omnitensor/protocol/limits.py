"""Everything that a stranger can make grow, and how far: one page, and one for the network; units come last in a name.

The values are not governed by the chain: they protect a node.
"""

from typing import Final

from omnitensor.protocol.limits_network import *  # noqa: F403  # read as limits.name, like all others

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
evidence_bytes_max: Final = 1 * KIB

# Consensus
validators_max: Final = 100
justification_certificates_max: Final = 16
views_ahead_max: Final = 64
"""Votes further ahead than this of the current view are dropped; a certificate brings a node that is behind forward."""
certificates_ahead_views_max: Final = 1_024
"""Certificates further ahead than this are not kept but asked for again when their turn comes; a finalization always is."""
proposals_ahead_views_max: Final = 8
view_slots_max: Final = 65_536
"""Views since the last final block; beyond them something is broken that time does not mend, and the node halts."""
candidates_missing_max: Final = 64
"""Candidates being fetched at one time."""
final_candidates_kept_max: Final = 16
"""Final candidates that stay in memory with their blocks, for peers that are a little behind."""
catch_up_blocks_max: Final = 8
"""Blocks that consensus fetches one by one; a node further behind uses block sync."""
standstill_bytes_per_second_max: Final = 256 * KIB
safety_file_bytes_max: Final = 1 * GIB
"""A safety file larger than this is not read at all: the store compacts long before, and holds unfinalized blocks only."""
safety_batch_bytes_max: Final = 4 * MIB
safety_record_bytes_max: Final = 64 * MIB
safety_record_kept_chars_max: Final = 48 * MIB
"""Of blocks that are not final, in hexadecimal digits: what is over stays with the peers."""
early_messages_max: Final = 1_024
"""Votes and certificates of the next epoch that are held until this node is there,"""
early_messages_per_peer_max: Final = 128
"""of one peer,"""
early_proposals_max: Final = 4
"""and proposals among them."""

# Text on chain
title_chars_max: Final = 120
instructions_chars_max: Final = 4_000
licence_chars_max: Final = 64
media_type_chars_max: Final = 64
name_chars_max: Final = 64
chain_id_chars_max: Final = 32
reason_chars_max: Final = 200

# Campaigns, submissions, reviews
campaign_spec_bytes_max: Final = 8 * KIB
"""A campaign's row is written anew by whatever touches the campaign, and the specification is most of it."""
campaign_media_max: Final = 16
campaign_tiers_max: Final = 8
campaign_categories_max: Final = 64
submission_items_max: Final = 256
batch_items_max: Final = 64
seats_per_round_max: Final = 31
sealed_report_bytes_max: Final = 1_024
gold_items_max: Final = 65_536
gold_path_hashes_max: Final = 16
"""Siblings of one gold item in a tree of ``gold_items_max``."""
gold_retired_per_order_max: Final = 64
contradiction_bytes_max: Final = 2 * KIB
"""Each of two transactions that commit one seat to two reports."""
session_keys_per_account_max: Final = 32
key_grants_per_order_max: Final = 256
multisig_members_max: Final = 16
submissions_open_per_account_max: Final = 64
batch_window_items_max: Final = 256
"""The oldest items of a queue among which a batch is mixed."""
review_work_per_block_max: Final = 60_000
"""Units (about a microsecond each) of the steps at the end of a block; what is left over is done in the next ones."""
competition_ranks_max: Final = 32
"""Places that a competition's sponsor can give a share each."""
competition_places_max: Final = 500
"""Places of a campaign's leaderboard that a pool split in proportion goes to."""
prize_work_per_block_max: Final = 20_000
"""Units (about a microsecond each) of paying seasons and competitions at the end of a block; the next ones do the rest."""
recent_payments_max: Final = 16
"""Latest payments kept beside an account's lifetime earnings."""

# Content
chunk_bytes: Final = 1 * MIB
content_bytes_max: Final = 8 * GIB
content_charge_bytes_min: Final = 8 * KIB
"""What the smallest content counts against a quota: a folder and two files."""
content_owner_bytes_max: Final = 16 * GIB
"""What one account may have in a node's store that no submission refers to yet."""
content_owner_uploads_max: Final = 16_384
"""How many such contents, uploads under way included: as many items as an account may have in submissions to be revealed."""
content_settle_ms_min: Final = 10_000
"""Whoever has too much is looked up on the chain so often at the most: what a submission refers to by now counts no more."""
content_unreferenced_share_max: Final = 2
"""All accounts together may fill one part in this many of the store with what no submission refers to."""
uploads_cached_max: Final = 64
upload_authorisation_ms_max: Final = 24 * 60 * 60 * 1_000
"""How far ahead an order to upload may end."""
upload_tokens_max: Final = 4_096

# Looking into media
media_child_memory_bytes_max: Final = 1 * GIB
"""Address space of a process that decodes one file, its own code included."""
media_facts_cpu_s_max: Final = 5
"""Processor time for reading the facts of a file,"""
media_look_cpu_s_max: Final = 60
"""and for decoding it."""
media_facts_ms_max: Final = 60_000
"""How long such a process may live, on however busy a machine, for facts,"""
media_look_ms_max: Final = 300_000
"""and for decoding."""
media_answer_bytes_max: Final = 112 * MIB
"""What it may say: the pixels of one image, at the most."""
media_text_bytes_max: Final = 64 * MIB
"""Text and tables beyond this are taken as they are, without counting."""
media_words_bytes_max: Final = 16 * MIB
"""Words are counted, and JSON is read, up to this."""
image_pixels_max: Final = 24_000_000
image_frames_max: Final = 1_000
image_frames_pixels_max: Final = 400_000_000
"""Pixels of all frames of an animation that are decoded; what is beyond is taken as it is."""
audio_decoded_ms_max: Final = 600_000
"""Of a sound the beginning is decoded, and its end."""
audio_channels_max: Final = 16
audio_rate_hz_max: Final = 768_000
video_frame_pixels_max: Final = 4_096 * 2_304
video_decoded_pixels_max: Final = 600_000_000
"""A video of more pixels than this is looked at in places spread over its length."""
video_places_max: Final = 16
video_frames_to_place_max: Final = 60
"""Frames decoded to get from where a stream can be entered to a place."""
media_broken_parts_max: Final = 100
"""Parts that do not decode before a file is given up."""
table_columns_max: Final = 4_096
table_cell_bytes_max: Final = 1 * MIB
preview_side_max: Final = 512
"""Pixels, of a thumbnail's longer side."""
preview_sound_ms_max: Final = 10_000
preview_text_chars_max: Final = 4_000
preview_rows_max: Final = 20
preview_columns_max: Final = 64
preview_cell_chars_max: Final = 60

# Fetching
fetch_peers_max: Final = 8
fetch_requests_per_peer_max: Final = 4
fetch_strikes_max: Final = 3
"""Wrong or missing answers of one peer before a fetch asks it no more."""
fetch_window_ms: Final = 30_000
"""For so long the pace of a peer that gives content is taken, then anew;"""
fetch_peer_bytes_per_second_min: Final = 64 * KIB
"""whoever is slower in it is asked no more in this fetch."""
fetch_slow_points: Final = 10
"""What that costs a peer, once for as long as it counts as slow: a slow line alone never bans."""
fetch_slow_ms: Final = 10 * 60 * 1_000
"""For so long a peer that was slow is asked after all others."""
fetch_slow_peers_max: Final = 256
"""Peers that are remembered as slow; the oldest is forgotten first."""

# RPC
rpc_body_bytes_max: Final = 1 * MIB
rpc_response_bytes_max: Final = 8 * MIB
rpc_batch_calls_max: Final = 100
rpc_depth_max: Final = 16
rpc_values_max: Final = 16_384
"""Values in one message; each costs the reader microseconds, whatever it is good for."""
rpc_values_per_call: Final = 8
rpc_bytes_per_call: Final = 1 * KIB
"""A message counts against a client's rate as so many calls as its calls, values and bytes make, whichever makes most."""
rpc_id_chars_max: Final = 128
rpc_connections_max: Final = 512
rpc_connections_per_client_max: Final = 128
"""Of one client; the node's own machine, where a proxy may be, is exempt."""
rpc_websockets_max: Final = 128
rpc_websockets_per_client_max: Final = 32
rpc_subscriptions_max: Final = 16
"""Subscriptions of one WebSocket."""
rpc_queue_events_max: Final = 6_000
"""Messages that wait for a slow WebSocket before it is dropped: above what one block of the most transactions says at once."""
rpc_queue_bytes_max: Final = 16 * MIB
"""The same in bytes."""
rpc_queue_answers_bytes_max: Final = 1 * MIB
"""With more waiting for a WebSocket its next request is not read."""
rpc_calls_per_second_max: Final = 2_000
rpc_calls_burst_max: Final = 8_000
rpc_metrics_calls: Final = 50
"""What a page of metrics counts as: it takes milliseconds of the event loop."""
rpc_clients_tracked_max: Final = 4_096
rpc_heavy_calls_max: Final = 4
"""Heavy reads at one time; more of them wait."""
rpc_page_max: Final = 100
rpc_page_default: Final = 50
rpc_steps_max: Final = 50
"""Epochs of one page for light clients; each may list all voters."""
rpc_scan_rows_max: Final = 2_000
"""Rows looked at for one page of a list with a filter; the page may be short, and says where to go on."""
rpc_request_ms_max: Final = 10_000
"""How long a connection may take to send its first request's head."""
rpc_receive_ms_max: Final = 120_000
"""How long a request's body may take to arrive."""
rpc_upload_threads_max: Final = 4
rpc_finishes_max: Final = 2
"""Uploads being checked as a whole at one time."""
rpc_fetches_max: Final = 16
"""Contents that are fetched from peers at one time because somebody asked for them,"""
rpc_fetches_per_client_max: Final = 4
"""and because one client did, but for the node's own machine: as many as a reviewer's program asks for at once."""
rpc_wait_ms: Final = 15_000
"""How long a request waits for content on its way from peers, or for an upload being checked, before it is told to ask again."""
rpc_timeout_ms: Final = 30_000
rpc_uploads_max: Final = 16
"""Chunks being received at one time,"""
rpc_uploads_per_client_max: Final = 4
"""and of one client, but for the node's own machine."""

# Light client
light_clock_ahead_ms_max: Final = 5 * 60 * 1_000
"""How far a header may be ahead of the user's clock, which is nobody's duty to set well."""

# Documents
json_depth_max: Final = 64
"""Brackets open at once in a JSON document from outside that a node reads (a genesis, a safety record)."""

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

# Governance
proposal_parts_max: Final = 16
"""Parameters, payments or accounts in one proposal."""
proposals_pending_max: Final = 32
"""Proposals that wait for their deposit at once."""
proposals_voting_max: Final = 16
"""Proposals that are voted on at once: each move of delegated stake looks at all of them."""
proposals_handled_per_block_max: Final = 4
"""Proposals counted, executed or ended at the end of one block; the rest follow in the next."""
upgrades_planned_max: Final = 4

# Staking
unbonding_per_validator_max: Final = 32
"""Withdrawals of one validator that may wait for payment at once."""
delegations_per_account_max: Final = 32
"""Validators to which one account may delegate at once."""
undelegations_per_delegation_max: Final = 16
"""Undelegations of one account from one validator that may wait for payment at once."""
redelegations_per_delegation_max: Final = 8
"""Redelegations of one account to one validator that may be under way at once."""
maturities_per_block_max: Final = 200
"""Undelegations paid and redelegations ended at the end of one block; the rest follow in the next."""
claim_validators_max: Final = 32
"""Validators in one claim of rewards."""
shares_per_unit_max: Final = 16
"""A validator whose delegated stake has more shares than this a nanoOMNIT, having been slashed, takes no more; so shares fit
64 bits."""
seats_released_per_block_max: Final = 200
"""Open seats of removed validators that are let go at the end of one block; the rest follow in the next."""
unbonding_paid_per_block_max: Final = 200
"""Withdrawals paid at the end of one block; the rest follow in the next."""
# Node
database_files_max: Final = 1_000
"""Files that the database has open: LevelDB's own bound."""
own_files_max: Final = 128
"""Files besides those of database, peers and clients: log, locks, safety store, snapshots, uploads, pipes."""
files_per_worker_process_max: Final = 8
"""Pipes to a process that computes for a worker."""
status_pause_ms_min: Final = 200
"""Between two of a node's own status updates; well below the rate that it takes from others."""
content_stall_ms_max: Final = 60_000
"""A fetch of which nothing came for so long is given up; what is here is kept for the next one."""
content_relays_max: Final = 2
"""Contents that a node fetches at one time because peers asked it to."""
content_relays_asked_max: Final = 3
"""Peers that a node asks at one time to fetch a content for it."""
content_relay_bytes_per_second_min: Final = 256 * KIB
"""A peer that gets a content more slowly is not waited for."""
content_fetches_max: Final = 4
"""Contents that a node fetches from its peers at the same time."""
content_turn_ms: Final = 40_000
"""For so long the pace of a fetch is taken, then anew (longer than that of its peers, who are judged first);"""
content_turn_bytes_per_second_min: Final = 256 * KIB
"""one that brings less gives way when others wait. What is here is kept for the next time it is asked for."""
driver_events_max: Final = 2_048
"""Verified messages that wait for the consensus core; beyond it their senders wait."""
votes_waiting_max: Final = 4_096
"""Votes that wait to be verified; beyond it a vote is refused."""
votes_per_source_and_batch_max: Final = 16
"""Of one peer's votes in a batch that is verified: each forged one costs a search, until the peer is banned."""
transactions_judged_at_once_max: Final = 16
"""Transactions of peers that are judged before the mempool gets to what consensus wants of it."""
content_checked_bytes_per_round_max: Final = 512 * MIB
"""Stored content that one round of housekeeping reads again."""
content_sent_bytes_per_round_max: Final = 1_024 * MIB
"""Content that one round of housekeeping sends to an object store; the rest in the next."""
content_fetches_waiting_max: Final = 256
"""Contents that wait for their turn to be fetched; beyond it a fetch is refused."""
final_transactions_known_max: Final = 65_536
"""The latest final transactions whose ids a node keeps in memory, so that it does not ask peers for them again."""
proofs_ahead_max: Final = 16
"""Finality proofs of blocks above those that sync has brought so far."""
questions_in_flight_max: Final = 32
"""Requests for candidates and certificates under way; consensus asks again for what was not asked."""
question_ms_max: Final = 3_000
"""How long such a request may take: another peer is asked long before."""

watched_views_max: Final = 128
"""Views whose votes a node remembers, so that a vote that comes late still convicts."""
evidence_pool_max: Final = 256
"""Evidence that a node holds until it is on chain or too old; one piece for each validator that nothing else convicts."""
evidence_of_workers_max: Final = 128
"""Of these so many may be against workers."""
evidence_file_bytes_max: Final = 1 * MIB
evidence_repeats_max: Final = 16
"""Pieces of evidence that are said again to all peers at one time."""

# State of a node
signatures_cached_max: Final = 32_768
"""Transactions whose signature was found good, kept so that a block's need not be checked again."""
rows_cached_max: Final = 50_000
"""Decoded rows of the committed state kept in memory."""
scans_cached_max: Final = 1_024
"""Scans of the committed state whose outcome is kept in memory until their table changes,"""
scanned_rows_kept_max: Final = 4
"""where they found no more rows than this."""
pages_cached_max: Final = 98_304
"""Pages of the state's trie, of about 800 bytes each, kept in memory beside its inner nodes."""
pending_blocks_max: Final = 256
"""Blocks that were executed and are not final. No more than one proof can make final at once for peers that sync."""
prune_blocks_max: Final = 32
"""Blocks that are pruned in one write, beside the chain's own work."""
prune_rows_max: Final = 4_096
"""Rows after which no further block joins such a write."""
sync_blocks_max: Final = 256
"""Blocks in one answer to a peer that syncs."""

# Mempool
mempool_transactions_max: Final = 20_000
mempool_bytes_max: Final = 8 * MIB
mempool_per_sender_max: Final = 64
"""Transactions of one sender that may wait; also how far ahead of the account's nonce one may be."""
mempool_gap_blocks_max: Final = 20
"""For so many blocks a transaction is held whose sender's earlier ones are missing,"""
mempool_gapped_max: Final = 2_000
"""so many of them at one time, of all senders,"""
mempool_gapped_bytes_max: Final = 1 * MIB
"""and in bytes."""
mempool_replacement_bps: Final = 11_000
"""What replaces a waiting transaction offers at least this share of its max_fee and tip together."""

# Work on models
workers_per_set_max: Final = 64
"""Workers of whose credit an epoch's leaders are drawn: those with the most."""
missed_views_per_block_max: Final = 256
"""Skipped views below one block that are looked at for workers that missed their lead, the first of them."""
model_bytes_max: Final = 16 * MIB
model_layers_max: Final = 8
model_width_max: Final = 4_096
"""Inputs and outputs of one layer."""
model_card_bytes_max: Final = 1 * MIB
"""The file beside a model that says how rows are encoded and what outputs mean."""
model_source_bytes_max: Final = 256 * MIB
"""A file of floating-point weights that a model is exported from,"""
model_header_bytes_max: Final = 1 * MIB
"""and the list of tensors in it."""
model_rows_bytes_max: Final = 256 * MIB
"""A table or a file of rows that a model is tried on."""
content_constants_max: Final = 128
"""Constants behind the operands of a row."""
receipt_tickets_max: Final = 4
unit_rows_max: Final = 4_096
"""Rows of a unit of work."""
audit_rows: Final = 64
"""Rows of a unit that are recomputed by every node, drawn after the outputs are fixed."""
fingerprint_bytes_max: Final = 4 * MIB
"""A fingerprint is of so many bytes from the beginning of a content."""
content_note_bytes_max: Final = 2 * KIB
"""What a node notes of a content it stores, beside it."""
near_duplicate_bytes_min: Final = 256
"""Shorter contents are not compared: what they share is mostly form."""
near_duplicates_compared_max: Final = 16_384
"""Earlier items with which a sponsor's own program compares one that it decrypted."""
near_duplicate_candidates_max: Final = 1_024
"""Items of a campaign, the newest first, that a batch is compared with."""
fingerprinted_bytes_per_call_max: Final = 32 * MIB
"""What is read for one answer to compute fingerprints that are not on disk yet."""
fingerprinted_bytes_per_round_max: Final = 64 * MIB
"""The same in one round of a node's housekeeping."""
workers_max: Final = 1_024
"""Workers that are registered at once."""
job_units_max: Final = 4_096
job_data_bytes_max: Final = 256 * MIB
"""The rows of a job, one byte a number."""
job_replicas_max: Final = 4
jobs_open_per_account_max: Final = 16
jobs_open_max: Final = 256
"""Jobs that people posted and that have not ended, of all accounts."""
jobs_places_free: Final = jobs_open_max // 4
"""Of these places so many cost nothing; each further one costs more than the one before (``work_place_price``)."""
receipt_macs_max: Final = 2**48
"""Multiply-accumulates that one receipt counts for at most, as much as chance may say of it."""
work_outputs_inline_max: Final = 8 * KIB
"""Outputs of a unit that are shown in a transaction; larger ones are named as content."""
judged_per_order_max: Final = 64
"""Receipts, and jobs, in one order of a validator that judges them."""
score_outputs_max: Final = 16
"""Numbers that a campaign's model gives an item."""
chain_unit_rows_max: Final = 32
"""Items in one unit of the chain's own jobs: their fingerprints are shown in a transaction."""
job_work_per_block_max: Final = 20_000
"""Units (about a microsecond each) of the steps of jobs at the end of a block; what is left over is done in the next ones."""
job_rows_dropped_max: Final = 64
"""Receipts of an ended job that are forgotten in one step."""
work_epochs_kept: Final = 256
"""Epochs whose sums of work are kept for readers."""
