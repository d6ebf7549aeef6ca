"""Content in object stores: a folder by URL, and a real S3 server process; what comes back wrong is refused."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from datalayer.remote import RemoteError, RemoteStore
from deploy.devnet.ports import free_ports
from omnitensor.protocol import limits, merkle
from omnitensor.protocol.content import ContentId, content_id_of

DATA = b"".join(sha256(bytes([place])).digest() * 4096 * 8 for place in range(5)) + b"the end"
"""Five chunks and a bit."""
CONTENT = content_id_of(DATA)
CHUNKS = [DATA[at : at + limits.chunk_bytes] for at in range(0, len(DATA), limits.chunk_bytes)]
LEAVES = tuple(merkle.leaf_hash(chunk) for chunk in CHUNKS)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server of its own process."""
    (port,) = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 240
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 10).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server does not listen"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(120)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Where the store's library looks for them: the environment."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_CONFIG_FILE", str(tmp_path / "none")), ("AWS_EC2_METADATA_DISABLED", "true"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteStore:
    if request.param == "folder":
        return RemoteStore(f"file://{tmp_path}/content")
    credentials: pytest.MonkeyPatch = request.getfixturevalue("credentials")
    credentials.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3"))
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem()
    bucket = f"bucket-{tmp_path.name.lower().replace('_', '-')[-40:].strip('-')}"
    if not files.exists(bucket):
        files.mkdir(bucket)
    return RemoteStore(f"s3://{bucket}/content")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def raw_name(store: RemoteStore, content: ContentId, part: str) -> str:
    return store._name(content.chunk_root, part)


def test_content_comes_back_chunk_by_chunk(store: RemoteStore, source: Path) -> None:
    assert not store.has(CONTENT.chunk_root)
    store.put(CONTENT, LEAVES, source)
    assert store.has(CONTENT.chunk_root)
    assert store.leaf_hashes(CONTENT) == LEAVES
    assert [store.read_chunk(CONTENT, index, LEAVES[index]) for index in range(len(CHUNKS))] == CHUNKS
    store.put(CONTENT, LEAVES, source)  # once more changes nothing
    store.drop(CONTENT.chunk_root)
    store.drop(CONTENT.chunk_root)
    assert not store.has(CONTENT.chunk_root)
    with pytest.raises(RemoteError, match="failed"):
        store.leaf_hashes(CONTENT)


def test_bytes_that_changed_there_are_refused(store: RemoteStore, source: Path) -> None:
    store.put(CONTENT, LEAVES, source)
    for part, place, read in (
        (".leaves", 99, lambda: store.leaf_hashes(CONTENT)),
        (".data", limits.chunk_bytes + 9, lambda: store.read_chunk(CONTENT, 1, LEAVES[1])),
    ):
        name = raw_name(store, CONTENT, part)
        whole = store._fs.cat_file(name)
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        store._fs.pipe_file(name, changed)
        with pytest.raises(RemoteError, match="other bytes"):
            read()
        store._fs.pipe_file(name, whole)
        read()


def test_what_is_not_whole_is_not_there(
    store: RemoteStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put that ends before the leaf hashes: nothing says that the bytes are whole."""

    def killed(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(store._fs, "pipe_file", killed)
    with pytest.raises(RemoteError, match="ConnectionResetError"):
        store.put(CONTENT, LEAVES, source)
    monkeypatch.undo()
    assert not store.has(CONTENT.chunk_root)


def test_a_store_that_is_not_there_says_so(credentials: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemoteError, match="object store"):
        RemoteStore("nosuch://bucket/x")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        credentials.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        store = RemoteStore("s3://bucket/x")
        store._fs.retries = 1
        with pytest.raises(RemoteError, match="the object store failed") as caught:
            store.has(CONTENT.chunk_root)
        assert "credentials" in caught.value.remedy
