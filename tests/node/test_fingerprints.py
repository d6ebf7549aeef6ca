"""Fingerprints that a node takes of what it stores: kept beside the bytes, of their beginning, gone with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.work.fingerprint import fingerprint
from datalayer.store import ContentStore
from node import fingerprints
from node.fingerprints import Fingerprints
from omnitensor.protocol import limits
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.types import Hash
from tests.rpc.world import store_content

TEXT = b"Validators score completeness, accuracy and relevance of what was contributed. " * 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "content"


def test_it_is_computed_once_and_lasts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ContentStore(folder, 64 * limits.MIB)
    root = store_content(store, TEXT, b"").chunk_root
    came = store.since_ms(root)
    assert Fingerprints(store).known(root) is None
    assert Fingerprints(store).compute(root) == fingerprint(TEXT)
    assert store.since_ms(root) == came, "a note does not make content younger"
    store.close()

    def refuse(_: bytes) -> bytes:
        raise AssertionError("it was on disk")

    monkeypatch.setattr(fingerprints, "fingerprint", refuse)
    again = ContentStore(folder, 64 * limits.MIB)
    assert Fingerprints(again).known(root) == Fingerprints(again).compute(root) == fingerprint(TEXT)
    again.drop(root)
    assert Fingerprints(again).known(root) is None
    assert Fingerprints(again).compute(root) is None
    again.close()


def test_a_torn_one_is_computed_anew(folder: Path) -> None:
    store = ContentStore(folder, 64 * limits.MIB)
    root = store_content(store, TEXT, b"").chunk_root
    store.note(root, fingerprints.NOTE, b"torn")
    assert Fingerprints(store).known(root) is None
    assert Fingerprints(store).compute(root) == Fingerprints(store).known(root) == fingerprint(TEXT)
    store.close()


def test_it_is_of_the_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "fingerprint_bytes_max", 1_000)
    store = ContentStore(folder, 64 * limits.MIB)
    beginning = bytes(range(250)) * 4
    root = store_content(store, beginning + b"what comes after is not looked at" * 9, b"").chunk_root
    assert Fingerprints(store).compute(root) == fingerprint(beginning)
    store.close()


def test_content_that_is_not_here_has_none(folder: Path) -> None:
    store = ContentStore(folder, 64 * limits.MIB)
    found = Fingerprints(store)
    root = content_id_of(TEXT).chunk_root
    assert found.compute(root) is found.known(root) is None
    assert found.compute(Hash(bytes(32))) is None
    store.close()
