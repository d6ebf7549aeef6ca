"""Looks into files of strangers: media type, facts, measures, previews. Decoders run in a child process alone.

Knows files; nothing of campaigns, the network or a node. Imports only the protocol, so that SDK and node judge bytes alike.
"""

from omnitensor.media.errors import MediaError
from omnitensor.media.facts import Facts, Measures, Picture, Seen, Sound
from omnitensor.media.kinds import (
    HEAD_BYTES,
    UNKNOWN,
    agrees,
    by_name,
    kind_of,
    possible_types,
    sniff,
    type_matches,
)
from omnitensor.media.look import inspect, look, pixels
from omnitensor.media.previews import save_previews
from omnitensor.media.room import LATE

__all__ = [
    "HEAD_BYTES",
    "LATE",
    "UNKNOWN",
    "Facts",
    "Measures",
    "MediaError",
    "Picture",
    "Seen",
    "Sound",
    "agrees",
    "by_name",
    "inspect",
    "kind_of",
    "look",
    "pixels",
    "possible_types",
    "save_previews",
    "sniff",
    "type_matches",
]
