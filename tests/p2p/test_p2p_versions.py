"""Old and new software in one net: another version of the network protocol is refused at both ends, and nobody pays for it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from omnitensor.protocol import limits
from omnitensor.protocol.codec import encode
from p2p import host as host_module
from p2p.frames import Outbox, pack_record
from p2p.handshake import Handshake
from p2p.messages import PROTOCOL_VERSION, Hello, Lane, Ping, Tell, decode_envelope, encode_envelope
from tests.p2p.network_kit import CHAIN, GENESIS, hash_of, key_of, nodes, until

NEW: int = PROTOCOL_VERSION + 1


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    """Versions by identity; a host whose identity is not in it speaks this one."""
    found: dict[bytes, int] = {}

    def shake(identity: Any, hello: Hello, **options: Any) -> Handshake:
        return Handshake(identity, hello, version=found.get(identity.public, PROTOCOL_VERSION), **options)

    monkeypatch.setattr(host_module, "Handshake", shake)
    return found


@pytest.mark.parametrize("newer", [1, 2], ids=["the old one dials", "the new one dials"])
async def test_another_version_is_refused_with_a_reason_at_both_ends(
    versions: dict[bytes, int], newer: int
) -> None:
    versions[key_of(newer).public] = NEW
    async with nodes() as net:
        with capture_logs() as logs:
            listens = await net.start(1)
            dials = await net.start(2, listens.seed)
            await until(lambda: "p2p_handshakes_failed{code=wrong_version}" in listens.host.metrics())
            await until(lambda: "p2p_dials_failed{code=wrong_version}" in dials.host.metrics())
            told = [entry["reason"] for entry in logs if entry.get("code") == "wrong_version"]
        assert any(f"theirs is {NEW}, ours is {PROTOCOL_VERSION}" in reason for reason in told)
        assert any(f"theirs is {PROTOCOL_VERSION}, ours is {NEW}" in reason for reason in told)
        assert all("run the same release at both ends" in reason for reason in told)
        assert listens.host.peers() == dials.host.peers() == ()
        assert listens.recorder.ups == dials.recorder.ups == []
        for one, other in ((listens, 2), (dials, 1)):
            assert not one.host._scores.banned(key_of(other).public, one.host._clock()), "it may be upgraded"
            assert one.host._scores.points(key_of(other).public, one.host._clock()) == 0


async def test_the_rest_of_the_net_goes_on_and_an_upgraded_node_is_back(versions: dict[bytes, int]) -> None:
    versions[key_of(2).public] = NEW
    async with nodes() as net:
        listens = await net.start(1)
        await net.start(2, listens.seed)
        old = await net.start(3, listens.seed)
        await until(lambda: "p2p_handshakes_failed{code=wrong_version}" in listens.host.metrics())
        await until(lambda: [peer.peer_id for peer in listens.host.peers()] == [old.host.peer_id])
        del versions[key_of(2).public]
        await until(lambda: len(listens.host.peers()) == 2)


async def test_versions_that_nobody_will_ever_speak(versions: dict[bytes, int]) -> None:
    for version in (0, 0xFFFF):
        versions[key_of(2).public] = version
        async with nodes() as net:
            listens = await net.start(1)
            dials = await net.start(2, listens.seed)
            await until(lambda: "p2p_handshakes_failed{code=wrong_version}" in listens.host.metrics())  # noqa: B023  # awaited here
            await until(lambda: "p2p_dials_failed{code=wrong_version}" in dials.host.metrics())  # noqa: B023  # awaited here


def unknown_kinds() -> list[bytes]:
    """What a later release might say: kinds that there are not, and fields that there are not."""
    told = decode_plain(encode_envelope(Tell(Ping(7))))
    return [
        encode((0, (99, 7))),
        encode((1, 5, (99, 7))),
        encode((2, 5, (99, 7))),
        encode((3, (31, 7))),
        encode((0, (*told[1], 8))),
        encode((0, (31,))),
    ]


def decode_plain(frame: bytes) -> Any:
    return msgspec.msgpack.decode(frame)


@pytest.mark.parametrize("frame", unknown_kinds(), ids=range(len(unknown_kinds())))
async def test_an_unknown_kind_is_malformed_and_no_more_than_that(frame: bytes) -> None:
    """As documented: kinds and fields come with a new version, so that in one version nobody has to guess."""
    with pytest.raises(Exception, match="not a"):
        decode_envelope(frame)
    async with nodes() as net:
        node = await net.start(1)
        raw = await net.connect(2, node)
        raw.say_frame(frame, Lane.CONTROL)
        farewell = await raw.hear_goodbye()
        await until(lambda: node.host.peers() == ())
        assert farewell is not None
        assert farewell.code == "malformed"
        assert "not a" in farewell.reason
        points = node.host._scores.points(raw.peer_id, node.host._clock())
        assert points == limits.malformed_frame_points
        again = await net.connect(3, node)
        again.say(Tell(Ping(1)))
        await until(lambda: len(node.host.peers()) == 1)


async def test_a_hello_of_another_shape_is_refused_at_the_door() -> None:
    """Within one version: nothing is kept of it, and the next one is served."""

    class SaysMore(Handshake):
        def _say(self, envelope: Tell) -> None:
            plain = decode_plain(encode_envelope(envelope))
            longer = encode((0, (*plain[1], "a field of later")))
            outbox = Outbox()
            outbox.push(Lane.CONTROL, longer)
            while (fragment := outbox.next_fragment()) is not None:
                self._out.append(pack_record(self._session.encrypt(fragment)))

    async with nodes() as net:
        node = await net.start(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.host.listen_port)
        hello = Hello(CHAIN, GENESIS, 0, hash_of(0), 0, 0, "later")  # type: ignore[arg-type]  # plain numbers do
        shake = SaysMore(key_of(2), hello, static_key=bytes(range(32)), initiator=True)
        writer.write(shake.data_to_send())
        shake.receive(await reader.read(4_096))
        writer.write(shake.data_to_send())
        await until(lambda: "p2p_handshakes_failed{code=handshake}" in node.host.metrics())
        writer.close()
        assert node.host.peers() == ()
        await net.connect(3, node)
