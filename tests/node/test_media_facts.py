"""Facts that a node reads of what it stores: once, from the bytes, for the kind of text that was declared, gone with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datalayer.store import ContentStore
from node import media_facts
from node.media_facts import MediaFacts
from omnitensor.media import LATE, Facts
from omnitensor.protocol import limits
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.types import Hash
from tests.media.samples import picture, table, wav
from tests.rpc.world import store_content


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    made = ContentStore(tmp_path / "content", 64 * limits.MIB)
    yield made
    made.close()


def test_they_are_read_once_and_last(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture("PNG", (40, 30))
    root = store_content(store, data, b"").chunk_root
    came, facts = store.since_ms(root), MediaFacts(store)
    assert facts.known(root) is None
    found = facts.compute(root, "image/png")
    assert found == Facts("image/png", len(data), width=40, height=30, frames=1, codec="png")
    assert store.since_ms(root) == came, "a note does not make content younger"

    def refuse(*_: object) -> Facts:
        raise AssertionError("it was on disk")

    monkeypatch.setattr(media_facts.media, "inspect", refuse)
    assert MediaFacts(store).compute(root) == found
    store.drop(root)
    assert MediaFacts(store).known(root) is None


def test_what_is_not_here_has_none(store: ContentStore) -> None:
    root = Hash(content_id_of(b"elsewhere").chunk_root)
    assert MediaFacts(store).compute(root) is None


def test_a_torn_note_is_taken_anew(store: ContentStore) -> None:
    root = store_content(store, wav(), b"").chunk_root
    store.note(root, media_facts.NOTE, b"\xc1torn")
    found = MediaFacts(store).compute(root)
    assert found is not None
    assert (found.media_type, found.duration_ms, found.channels) == ("audio/wav", 1_000, 1)
    assert MediaFacts(store).known(root) == found


def test_text_has_facts_as_it_was_declared(store: ContentStore) -> None:
    root = store_content(store, table(10).encode(), b"").chunk_root
    facts = MediaFacts(store)
    plain, csv = facts.compute(root, "text/plain"), facts.compute(root, "text/csv; header=present")
    assert plain is not None
    assert csv is not None
    assert (plain.media_type, plain.rows) == ("text/plain", 0)
    assert (csv.media_type, csv.rows, csv.columns) == ("text/csv", 11, 3)
    assert facts.compute(root, "image/png") == plain, "what is no kind of text changes nothing"
    json = facts.compute(root, "application/json")
    assert json is not None
    assert "declared as application/json" in json.fault


def test_a_hostile_file_is_looked_at_once(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    root = store_content(store, b"\x89PNG\r\n\x1a\n" + bytes(100), b"").chunk_root
    found = MediaFacts(store).compute(root)
    assert found is not None
    assert found.fault
    monkeypatch.setattr(media_facts.media, "inspect", None)
    assert MediaFacts(store).compute(root) == found


def test_what_lay_in_the_machine_is_not_kept(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    root = store_content(store, wav(), b"").chunk_root
    monkeypatch.setattr(limits, "media_facts_ms_max", 0)
    late = MediaFacts(store).compute(root)
    assert late is not None
    assert late.fault == LATE
    monkeypatch.setattr(limits, "media_facts_ms_max", 60_000)
    found = MediaFacts(store).compute(root)
    assert found is not None
    assert (found.fault, found.duration_ms) == ("", 1_000)
