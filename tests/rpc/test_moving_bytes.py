"""The SDK's uploads and downloads: a server goes away, takes its time, or has to get the bytes from elsewhere first."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from datalayer.store import ContentStore
from datalayer.upload import ContentError
from deploy.devnet.ports import free_ports
from omnitensor.protocol import limits
from omnitensor.protocol.content import ContentId, content_id_of
from omnitensor.protocol.errors import ProtocolError, StorageError
from omnitensor.protocol.keys import format_secret
from omnitensor.protocol.types import Hash
from omnitensor.sdk import Wallet
from omnitensor.sdk import content as moving
from omnitensor.sdk.content import _Patience, download_file, upload_file
from omnitensor.sdk.errors import ConnectionFailed, NotFoundError, RpcError
from omnitensor.sdk.transport import Retry, Transport
from rpc.server import RpcServer
from tests.rpc.world import CHAIN_ID, MIB, TestBackend, serve, store_content
from tests.state.chain_fixtures import key

DATA = hashlib.shake_256(b"moving").digest(65_539) * 100  # six chunks and a quarter
CONTENT = content_id_of(DATA)
WALLET = Wallet.from_secret(format_secret(key("a0")))
FAST = Retry(attempts=3, first_delay_s=0.02, delay_max_s=0.05, timeout_s=120)


@pytest.fixture
async def transport(server: RpcServer) -> AsyncIterator[Transport]:
    made = Transport(f"http://127.0.0.1:{server.port}", FAST)
    yield made
    await made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


async def before_its_end(task: asyncio.Task[None], event: asyncio.Event) -> None:
    """Waits for something that happens while a task runs."""
    happens = asyncio.create_task(event.wait())
    await asyncio.wait((task, happens), return_when=asyncio.FIRST_COMPLETED)
    assert event.is_set(), task.exception()


async def test_a_node_that_is_started_anew_is_sent_only_what_it_lost(
    backend: TestBackend, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens end with the process, and for a while nobody listens; the upload goes on all the same."""
    monkeypatch.setattr(moving, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(moving, "PARALLEL_CHUNKS", 1)
    (port,), waited = free_ports(1), list[str]()
    first = await serve(backend, port=port)
    reached = asyncio.Event()

    def progress(done: int, total: int) -> None:
        if done >= 3 * MIB:
            reached.set()

    transport = Transport(f"http://127.0.0.1:{port}", FAST)
    upload = asyncio.create_task(
        upload_file(transport, WALLET, CHAIN_ID, file, CONTENT, progress, waited.append)
    )
    await before_its_end(upload, reached)
    await first.stop()
    sent = backend.content.usage().received
    backend.content.close()
    backend.content = ContentStore(tmp_path / "content", 64 * MIB)
    while not waited:
        assert not upload.done(), upload.exception()
        await asyncio.sleep(0.01)
    second = await serve(backend, port=port)
    await upload
    assert backend.content.has(CONTENT.chunk_root)
    assert len(waited) == 1, "it says once that it waits"
    again = backend.content.usage().received
    assert len(DATA) <= sent + again <= len(DATA) + MIB, "at most the chunk on its way goes twice"
    await transport.close()
    await second.stop()


async def test_a_node_that_never_comes_back_ends_an_upload(
    backend: TestBackend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(moving, "PATIENCE_S", 0.3)
    server, gone = await serve(backend), asyncio.Event()
    transport = Transport(f"http://127.0.0.1:{server.port}", FAST)
    upload = asyncio.create_task(
        upload_file(transport, WALLET, CHAIN_ID, file, CONTENT, lambda done, total: gone.set())
    )
    await before_its_end(upload, gone)
    await server.stop()
    with pytest.raises(ConnectionFailed):
        await upload
    with pytest.raises(ConnectionFailed):
        await upload_file(transport, WALLET, CHAIN_ID, file, CONTENT)
    await transport.close()


async def test_an_upload_that_takes_long_to_check_is_waited_for(
    backend: TestBackend, transport: Transport, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than one request waits, and than a client's patience with one request."""
    monkeypatch.setattr(limits, "rpc_wait_ms", 50)
    monkeypatch.setattr(moving, "ASK_AGAIN_S", 0.02)
    finish, finished = backend.content.finish, []

    def slow(upload_id: str) -> ContentId:
        finished.append(upload_id)
        time.sleep(0.6)
        return finish(upload_id)

    monkeypatch.setattr(backend.content, "finish", slow)
    await upload_file(transport, WALLET, CHAIN_ID, file, CONTENT)
    assert backend.content.has(CONTENT.chunk_root)
    assert len(finished) == 1


async def test_content_on_its_way_from_peers_is_waited_for_while_it_comes(
    backend: TestBackend, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_wait_ms", 20)
    monkeypatch.setattr(moving, "ASK_AGAIN_S", 0.02)
    begun, now, real = [], [0.0], _Patience.got
    shown = SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    monkeypatch.setattr(moving, "time", shown)
    heard: dict[object, int] = {}

    def got(patience: _Patience, done: int, where: str = "here") -> None:
        heard[patience] = max(done, heard.get(patience, 0))
        real(patience, done, where)

    monkeypatch.setattr(_Patience, "got", got)

    async def slow(root: Hash) -> bool:
        begun.append(root)
        for index in range(CONTENT.chunks):
            backend.arrived[root] = (index + 1) * MIB
            # All three have heard of it before the time goes on, for most of what they are patient.
            while len(heard) < 3 or min(heard.values()) < (index + 1) * MIB:
                await asyncio.sleep(0.01)
            now[0] += 0.9 * moving.PATIENCE_S
        store_content(backend.content, DATA, b"")
        return True

    monkeypatch.setattr(backend, "fetch", slow)
    target = tmp_path / "target"
    readers = (download_file(transport, CONTENT, tmp_path / name) for name in ("one", "two"))
    await asyncio.gather(download_file(transport, CONTENT, target), *readers)
    assert target.read_bytes() == DATA
    assert begun == [CONTENT.chunk_root], "all wait for one fetch, which goes on between their requests"


async def test_content_that_stops_coming_is_not_waited_for(
    backend: TestBackend, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "rpc_wait_ms", 20)
    monkeypatch.setattr(moving, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(moving, "PATIENCE_S", 0.3)

    async def never(_: Hash) -> bool:
        await asyncio.Event().wait()
        return False

    with monkeypatch.context() as patch:
        patch.setattr(backend, "fetch", never)
        with pytest.raises(RpcError) as caught:
            await download_file(transport, CONTENT, tmp_path / "target")
        assert caught.value.code == "fetching"
    with pytest.raises(NotFoundError):
        await download_file(transport, content_id_of(b"of nobody"), tmp_path / "other", attempts=2)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ContentError("this node's store is full", code="quota"), "quota"),
        (StorageError("the disk is full"), "storage"),
    ],
)
async def test_a_node_without_room_is_not_one_without_the_content(
    backend: TestBackend,
    transport: Transport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: ProtocolError,
    code: str,
) -> None:
    """A reviewer who took it for that would call the item unavailable, at its contributor's cost."""

    async def full(_: Hash) -> bool:
        raise fault

    monkeypatch.setattr(backend, "fetch", full)
    with pytest.raises(RpcError) as caught:
        await download_file(transport, CONTENT, tmp_path / "target")
    assert caught.value.code == code


async def test_a_download_outlives_its_node(
    backend: TestBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every megabyte, it comes down in as many parts; no byte twice."""
    store_content(backend.content, DATA, b"")
    (port,), served = free_ports(1), 0
    server = await serve(backend, port=port)
    transport = Transport(f"http://127.0.0.1:{port}", FAST)
    target, part = tmp_path / "target", tmp_path / "target.part"
    for place in range(1, 4):
        reached = asyncio.Event()

        def progress(done: int, total: int, place: int = place, reached: asyncio.Event = reached) -> None:
            if done >= place * MIB:
                reached.set()

        download = asyncio.create_task(download_file(transport, CONTENT, target, progress))
        await before_its_end(download, reached)
        download.cancel()
        await asyncio.gather(download, return_exceptions=True)
        kept = part.stat().st_size
        assert kept >= max(served, place * MIB)
        assert part.read_bytes() == DATA[:kept]
        served = kept
    await download_file(transport, CONTENT, target)
    assert target.read_bytes() == DATA
    assert not part.exists()
    await transport.close()
    await server.stop()
