"""What is held of the next epoch: bounded, and no room for strangers to take from those who have something to say."""

from __future__ import annotations

from node.epochs import EarlyMessages
from omnitensor.protocol import limits
from p2p.messages import PeerId
from tests.p2p.network_kit import vote_of


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def test_strangers_do_not_crowd_out_who_comes_later() -> None:
    early = EarlyMessages()
    strangers = limits.early_messages_max // limits.early_messages_per_peer_max
    for number in range(strangers):
        for vote in range(limits.early_messages_per_peer_max + 5):
            early.hold(peer(number), vote_of(vote))
    assert len(early) == limits.early_messages_max
    honest = [vote_of(number) for number in range(20)]
    assert all(early.hold(peer(1_000), vote) for vote in honest)
    assert len(early) == limits.early_messages_max
    held = list(early.take())
    assert [message for one, message in held if one == peer(1_000)] == honest
    assert len(early) == 0
    assert early.hold(peer(0), vote_of(1))


def test_nobody_gives_way_to_who_has_as_much() -> None:
    early = EarlyMessages()
    peers = 64
    share = limits.early_messages_max // peers
    for number in range(peers):
        assert all(early.hold(peer(number), vote_of(vote)) for vote in range(share))
    assert not early.hold(peer(0), vote_of(share + 1))
    assert len(early) == limits.early_messages_max
