"""The command facts: what files and items are, before anything is paid; wrong use in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from omnitensor.sdk import Wallet
from tests.cli.people import Person
from tests.media.samples import picture, table, tone, wav
from tests.sdk.small_chain import SmallChain
from tests.sdk.test_sdk_story import open_campaign


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


def test_whoever_uploads_without_the_decoders_is_told_once(
    chain: SmallChain, wallet: Callable[[str], Wallet], home: Path, tmp_path: Path
) -> None:
    """As where the extra `media` is not installed: the library that it brings can't be imported by the program's child."""
    campaign = open_campaign(chain, wallet("sponsor"), home, media=["audio/*", "text/plain"])
    missing = tmp_path / "missing"
    (missing / "av").mkdir(parents=True)
    (missing / "av" / "__init__.py").write_text("raise ImportError('not installed')\n", encoding="utf-8")
    paths = os.pathsep.join([str(missing), os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
    lacking = Person(tmp_path / "lacking", chain.endpoint, {"PYTHONPATH": paths}).log_in("contributor")
    whole = Person(tmp_path / "whole", chain.endpoint).log_in("second")
    given = {}
    for person, skip in ((lacking, 0), (whole, 2)):
        folder = tmp_path / f"given-{skip}"
        folder.mkdir()
        for number in (skip + 1, skip + 2):
            (folder / f"{number}.wav").write_bytes(wav(tone, seconds=number))
        (folder / "words.txt").write_text(f"These are the words of folder {skip}, and quite enough of them.")
        given[person.folder] = ("upload-data", "--task-id", str(campaign), "--file", str(folder))
    said = lacking.program(*given[lacking.folder])
    assert said.code == 0, said
    warnings = [line for line in said.err.splitlines() if "omnitensor[media]" in line]
    assert len(warnings) == 1, said.err
    assert warnings[0].startswith("warning: ")
    assert "pip install" in warnings[0]
    assert "2 of 3 files aren't computed" in warnings[0]
    assert "omnitensor[media]" not in said.out
    said = whole.program(*given[whole.folder], "--json")
    assert (said.code, said.err) == (0, ""), said
