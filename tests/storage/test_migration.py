"""Migration: databases of older layouts come forwards, from wherever a kill left them; newer ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnitensor.protocol.codec import encode
from omnitensor.protocol.types import Epoch
from state import migration
from state.chain import Chain
from state.schema import LAYOUT_VERSION, STEPS
from state.store import ForeignStoreError, Store
from tests.storage.chains import EPOCH_BLOCKS, PARAMS, grown, rows

EPOCHS = 9


class Killed(Exception):
    """The process ended here."""


def of_layout_1(folder: Path) -> tuple[Path, dict[bytes, bytes]]:
    """A database as the version before wrote it, and the steps that it would have today."""
    chain = grown(folder, EPOCHS * EPOCH_BLOCKS + 1)
    steps = {k: v for k, v in rows(chain).items() if k[0] == STEPS.prefix}
    assert len(steps) == EPOCHS
    chain._store.write([*((k, None) for k in steps), (migration.LAYOUT_KEY, None)])
    chain.close()
    return folder / "chain", steps


def test_the_steps_are_written_as_a_new_node_writes_them(tmp_path: Path) -> None:
    path, steps = of_layout_1(tmp_path)
    heard: list[tuple[str, int, int]] = []
    chain = Chain.open(path, tell=lambda *said: heard.append(said))
    assert heard[-1] == ("writing the steps of light clients", EPOCHS, EPOCHS)
    found = {k: v for k, v in rows(chain).items() if k[0] == STEPS.prefix}
    reader = chain.reader()
    # Sets are forgotten after some epochs: the first step whose voters are known spells them out.
    oldest = Epoch(EPOCHS - PARAMS.evidence_epochs - 1)
    assert reader.first_step == oldest
    first = reader.step(oldest)
    assert first is not None
    assert first.voters is not None
    assert len(first.voters) == 4
    assert {k: v for k, v in found.items() if k != STEPS.full_key(oldest)} == {
        k: v for k, v in steps.items() if k > STEPS.full_key(oldest)
    }
    assert migration.layout_of(chain._store) == LAYOUT_VERSION
    chain.close()
    heard.clear()
    Chain.open(path, tell=lambda *said: heard.append(said)).close()
    assert not heard, "once"


def test_it_goes_on_after_a_kill_at_every_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PIECE", 1)
    path, _ = of_layout_1(tmp_path)
    places: list[int] = []

    def die(what: str, place: int, end: int) -> None:
        places.append(place)
        raise Killed

    while True:
        try:
            chain = Chain.open(path, tell=die)
            break
        except Killed:
            continue
    assert places == list(range(EPOCHS - PARAMS.evidence_epochs, EPOCHS + 1)), "each piece once"
    assert all(chain.reader().step(Epoch(epoch)) for epoch in range(places[0] - 1, EPOCHS))
    assert chain._store.get(migration.PLACE_KEY) is None
    chain.close()


def test_a_later_layout_is_refused(tmp_path: Path) -> None:
    chain = grown(tmp_path, 1)
    chain._store.write([(migration.LAYOUT_KEY, encode(LAYOUT_VERSION + 1))])
    chain.close()
    with pytest.raises(ForeignStoreError, match="start the later version"):
        Chain.open(tmp_path / "chain")
    store = Store.open(tmp_path / "chain")
    store.write([(migration.LAYOUT_KEY, b"\xc1")])
    store.close()
    with pytest.raises(migration.DamagedStoreError, match="version can't be read"):
        Chain.open(tmp_path / "chain")


def test_every_older_layout_has_a_way_forwards() -> None:
    assert sorted(migration.MIGRATIONS) == list(range(1, LAYOUT_VERSION))
