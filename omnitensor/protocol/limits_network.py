"""The network's page of limits: frames, messages, peers, addresses, gossip and sync. Read them from ``limits``, where all are."""

from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

# Network: frames and messages
noise_message_bytes_max: Final = 65_535
"""Noise's own bound on a message, its tag of 16 bytes included."""
handshake_message_bytes_max: Final = 256
"""Noise's three messages, and ours in them."""
hello_bytes_max: Final = 1 * _KIB
handshake_ms_max: Final = 5_000
fragment_bytes_max: Final = 32 * _KIB
"""A frame leaves in fragments of this, each one Noise message: how long a vote waits behind bytes."""
node_name_chars_max: Final = 64
host_chars_max: Final = 253
transaction_ids_per_message_max: Final = 1_024
transactions_per_message_max: Final = 512
gossip_ids_per_message_max: Final = 1_024
blocks_per_response_max: Final = 64
blocks_response_bytes_max: Final = 900 * _KIB
"""Encoded blocks in one answer; the rest of the frame is for headers and the proof."""
header_links_max: Final = 256
"""Headers that lead from the last block of an answer up to the block that its proof finalizes; see ``pending_blocks_max``."""
certificates_per_message_max: Final = 64
snapshot_manifest_bytes_max: Final = 512 * _KIB
"""A header, a proof, and 256 chunks: each its hash, or its up to 16 entries where it has no more."""
snapshot_chunk_bytes_max: Final = 64 * _MIB
"""A chunk is one in 256 of the state's rows, and is in memory as a whole while it is verified."""
snapshot_chunks_per_peer_max: Final = 2
"""Chunks that are asked of one peer at once."""
snapshot_asks_per_chunk_max: Final = 2
"""Peers that are asked for one chunk at once, when nothing else is left to ask for."""
snapshot_held_up_ms_min: Final = 2_000
"""A chunk that takes so long is asked of a second peer then."""
snapshot_outpaced_ms_min: Final = 10_000
"""Where two take so long for it, the slower gives way to one that was not asked for it yet."""
step_bytes_max: Final = 32 * _KIB
"""A step over an epoch with all voters: about 10 KiB."""
steps_per_message_max: Final = 64
steps_response_bytes_max: Final = 900 * _KIB
peer_addresses_per_message_max: Final = 64
leaf_hashes_per_message_max: Final = 8_192
"""All leaves of the largest content."""
piece_bytes_max: Final = 256 * _KIB
"""A chunk travels in pieces of this, so that it leaves room in a frame and never holds up a vote for long."""

# Network: peers
peer_charge_points_max: Final = 100
"""A peer whose charges add up to this is dropped and banned for `peer_ban_ms`."""
peer_ban_ms: Final = 10 * 60 * 1_000

# Network: what waits for a peer, and what one may send
outbox_frames_max: Final = (4_096, 512, 1_024, 64)
"""Frames that may wait for one peer, by lane: consensus, control, transactions, bulk."""
outbox_bytes_max: Final = (4 * _MIB, 1 * _MIB, 4 * _MIB, 4 * _MIB)
bulk_answers_in_flight_max: Final = 2
"""Answers in the bulk lane that are made for one peer at once, of content and of all else each; the next waits until the line is
nearly empty."""
message_rates: Final[dict[str, tuple[int, int]]] = {
    "VoteNotice": (2_000, 6_000),
    "CertificateNotice": (1_500, 8_000),
    "ProposalNotice": (10, 64),
    "EvidenceNotice": (10, 128),
    "Have": (100, 400),
    "Want": (100, 400),
    "TransactionAnnounce": (200, 1_000),
    "TransactionRequest": (200, 1_000),
    "Transactions": (400, 2_000),
    "StatusUpdate": (10, 64),
    "BlocksRequest": (32, 128),
    "CandidateRequest": (32, 128),
    "CertificatesRequest": (32, 128),
    "SnapshotQuery": (1, 8),
    "SnapshotPieceRequest": (200, 800),
    "StepsRequest": (32, 128),
    "ContentQuery": (64, 512),
    "LeavesRequest": (32, 128),
    "ChunkRequest": (400, 1_600),
    "PeersRequest": (1, 4),
    "*": (10, 32),
}
"""Messages a second, and at once, that a peer may send, by kind. Each one above is thrown away and charged."""
message_ids_rate: Final = (20_000, 80_000)
"""Ids in Have, Want, TransactionAnnounce and TransactionRequest together: each costs a look in several tables."""
excess_message_points: Final = 2
malformed_frame_points: Final = 50
unasked_reply_points: Final = 10
wrong_answer_points: Final = 20
peer_charge_fade_ms: Final = 6_000
"""A point of a peer's charges is forgiven every so often."""
asks_in_flight_max: Final = 16
"""Questions of ours to one peer that wait for an answer; it may have as many open with us."""
content_asks_in_flight_max: Final = 12
"""Of these, for pieces and leaf hashes of content: the others are left for what consensus and sync lack."""
ask_ms_max: Final = 10_000
handlers_in_flight_max: Final = (512, 64, 64, 16)
"""Messages of one peer being handled at once, by lane; above it its connection is not read."""
ping_after_ms: Final = 10_000
clock_ping_ms: Final = 20_000
"""A node tells each peer its clock so often, as the number of a Ping."""
clock_said_ms_min: Final = 1_577_836_800_000
"""The number of a Ping is a clock from here on (2020); a smaller one counts Pings, as older software does."""
clock_said_ms_max: Final = 2**53
clock_stale_ms: Final = 60_000
"""What a peer said of its clock longer ago does not count."""
clock_voices_min: Final = 2
"""With fewer peers that say their clock nothing is known of one's own."""
clock_dialled_min: Final = 3
"""Where so many that this node dialled say theirs, those who dialled it do not count."""
clock_wrong_ms_min: Final = 60_000
"""A clock has been off, or right again, for so long before it is said."""
silence_ms_max: Final = 30_000
"""A peer of whom nothing was heard for so long is dropped, and a new connection of its identity replaces it after a third."""
stall_ms_max: Final = 30_000
"""A peer that takes nothing of what waits for it for so long is dropped."""
write_buffer_bytes_max: Final = 128 * _KIB
"""What may wait in the kernel and in the transport, where a vote can't pass it any more."""

# Network: connections and addresses
peers_inbound_max: Final = 64
peers_outbound_target: Final = 8
peers_per_subnet_max: Final = 8
"""Inbound connections of one IPv4 /24 or IPv6 /48; loopback is exempt."""
handshakes_in_flight_max: Final = 32
handshakes_per_subnet_max: Final = 8
handshake_rate: Final = (4, 32)
"""Handshakes a second, and at once, that one subnet may begin; loopback is exempt."""
dial_ms_max: Final = 5_000
redial_ms_min: Final = 500
redial_ms_max: Final = 60_000
addresses_per_bucket_max: Final = 32
new_buckets: Final = 64
tried_buckets: Final = 32
addresses_from_peer_per_hour_max: Final = 256
address_book_bytes_max: Final = 2 * _MIB
bans_max: Final = 4_096

# Network: gossip and sync
gossip_mesh_peers_max: Final = 8
"""Peers to which new messages are pushed; the others are told of them."""
gossip_seen_max: Final = 65_536
gossip_seen_ms: Final = 10_000
"""For so long copies of a message are dropped unread. Less than two rounds of standstill, so that repeats travel on."""
gossip_kept_bytes_max: Final = 16 * _MIB
gossip_known_per_peer_max: Final = 8_192
wanted_ids_max: Final = 65_536
wanted_ids_per_peer_max: Final = 8_192
wanted_sources_max: Final = 4
wanted_debt_max: Final = 64
"""So far the books go on what a peer announced and did not give, or gave: whoever owes more is asked later."""
want_ms_max: Final = 2_000
"""After so long another announcer is asked."""
sync_window_ranges_max: Final = 8
sync_ranges_per_peer_max: Final = 2
sync_range_ms_max: Final = 15_000
sync_held_up_ms_min: Final = 2_000
"""The range that all others wait for is asked of a second peer after so long."""
sync_faults_max: Final = 3
"""Ranges that a peer may owe before it is not asked any more."""
sync_behind_blocks_min: Final = 2
sync_behind_ms_min: Final = 2_000
"""One block behind is the normal course of things; after so long it is not."""
