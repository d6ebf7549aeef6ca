"""Content ids against IPFS's known name, a chunk root by definition, and pieces of any size."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omnitensor.protocol import content, limits, merkle
from omnitensor.protocol.codec import decode, encode
from omnitensor.protocol.content import ContentHasher, ContentId, content_id_of
from omnitensor.protocol.errors import CodecError, KeyFormatError
from omnitensor.protocol.types import Hash

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
CHUNK = limits.chunk_bytes


def chunk_leaf(chunk: bytes) -> bytes:
    return sha256(b"\x00" + chunk).digest()


def test_the_names_that_ipfs_gives() -> None:
    assert content_id_of(b"hello world").cid == HELLO
    assert content_id_of(b"").cid == EMPTY
    assert content.parse_cid(HELLO) == sha256(b"hello world").digest()


@given(st.binary(min_size=32, max_size=32))
def test_cids_round_trip(digest: bytes) -> None:
    text = content.cid_v1(digest)
    assert len(text) == content.CID_CHARS
    assert content.parse_cid(f" {text}\n") == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        HELLO[:-1],
        HELLO + "a",
        HELLO.upper(),
        HELLO[:-1] + "f",  # its last letter has bits that belong to no byte
        "b" + "1" * 58,
        "é" * 59,
        "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",  # dag-pb, not raw bytes
        "a" * 100_000,
    ],
)
def test_what_is_no_cid_of_a_file_is_refused_by_name(text: str) -> None:
    with pytest.raises(KeyFormatError, match="not the CID of a file") as caught:
        content.parse_cid(text)
    assert text[:40] in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_chunk_roots(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[
        :size
    ]  # a prime period, so that no two chunks are the same
    chunks = [data[i : i + CHUNK] for i in range(0, size, CHUNK)]
    found = content_id_of(data)
    assert found.sha256 == sha256(data).digest()
    assert (found.size, found.chunks) == (size, len(chunks))
    assert found.chunk_root == merkle.root([chunk_leaf(chunk) for chunk in chunks])
    for index, chunk in enumerate(chunks):
        assert found.chunk_size(index) == len(chunk)
        proof = merkle.inclusion_proof([chunk_leaf(each) for each in chunks], index)
        assert content.verify_chunk(found, index, chunk, proof)
        assert not content.verify_chunk(found, index, chunk[:-1], proof)
        assert not content.verify_chunk(found, index, chunk + b"x", proof)
        assert not content.verify_chunk(found, index + 1, chunk, proof)
        assert not content.verify_chunk(found, index - len(chunks), chunk, proof)
        assert not content.verify_chunk(found, index, b"x" + chunk[1:], proof) or chunk[:1] == b"x"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(st.integers(0, 100), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])),
        max_size=5,
    )
)
def test_the_pieces_make_no_difference(sizes: list[int]) -> None:
    pieces = [bytes([place + 1]) * size for place, size in enumerate(sizes)]
    hasher = ContentHasher()
    for piece in pieces:
        hasher.update(memoryview(piece))
    whole = b"".join(pieces)
    assert hasher.size == len(whole)
    found, leaves = hasher.finish()
    assert found == content_id_of(whole)
    assert list(leaves) == [chunk_leaf(whole[i : i + CHUNK]) for i in range(0, len(whole), CHUNK)]


def test_a_content_id_is_a_canonical_record() -> None:
    found = content_id_of(b"hello world")
    assert decode(ContentId, encode(found)) == found
    for wrong in (
        ContentId(Hash(bytes(31)), 1, Hash(bytes(32))),
        ContentId(Hash(bytes(32)), -1, Hash(bytes(32))),
        ContentId(Hash(bytes(32)), limits.content_bytes_max + 1, Hash(bytes(32))),
        ContentId(Hash(bytes(32)), 1, Hash(bytes(33))),
    ):
        with pytest.raises(CodecError):
            decode(ContentId, encode(wrong))


def test_a_chunk_that_is_not_there_is_a_bug() -> None:
    for index in (-1, 1):
        with pytest.raises(AssertionError):
            content_id_of(b"x").chunk_size(index)
