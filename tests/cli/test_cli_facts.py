"""The command facts: what files and items are, before anything is paid; wrong use in one line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.people import Person
from tests.media.samples import picture, table, wav
from tests.sdk.small_chain import SmallChain


def test_files_on_this_disk(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a").write_bytes(picture())
    (folder / "b.csv").write_text(table(10))
    (folder / "c").write_bytes(wav()[:3_000])
    someone = Person(tmp_path / "home")
    one, two, three = someone.must("facts", "--file", str(folder), "--json").json["facts"]
    assert (one["agrees"], one["facts"]["width"], one["facts"]["media_type"]) == (True, 40, "image/png")
    assert (two["agrees"], two["facts"]["rows"], two["summary"][:8]) == (True, 11, "text/csv")
    assert three["agrees"] is False
    assert "cut off" in three["facts"]["fault"]
    said = someone.must("facts", "--file", str(folder / "a"), "--media-type", "image/jpeg").out
    assert "40 x 30" in said
    assert "no" in said.split()
    nothing = someone.type("facts")
    assert nothing.code == 2
    assert "--file" in nothing.err
    assert someone.type("facts", "--file", str(tmp_path / "nowhere")).code == 2


def test_an_item_that_is_not_there(chain: SmallChain, tmp_path: Path) -> None:
    said = Person(tmp_path / "home", chain.endpoint).type("facts", "--item", "77")
    assert said.code == 1
    assert len(said.err.strip().splitlines()) == 1
