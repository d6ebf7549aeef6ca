"""Exporting what a campaign accepted, checking it offline, and loading it; against a real chain with real texts and pictures."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

from omnitensor.protocol.codec import decode
from omnitensor.protocol.errors import ProtocolError
from omnitensor.protocol.merkle import root_of
from omnitensor.sdk import ChainIdentity, Client, Contributor, ItemScore, Validator, Wallet
from omnitensor.sdk.dataset import Dataset, DatasetError, Exported, bundle, check, tables
from omnitensor.sdk.dataset.gather import AsyncClient
from tests.cli.people import Person, Said
from tests.sdk.samples import write_digits, write_texts
from tests.sdk.small_chain import CHAIN_ID, SmallChain
from tests.sdk.test_sdk_story import open_campaign
from tests.state.chain_fixtures import key

pytestmark = [pytest.mark.xdist_group("dataset"), pytest.mark.timeout(1_800)]

REVIEWERS = ("v0", "v1", "v2", "v3")
INLINE = 2_000
"""Texts of more bytes go into files of their own here."""


def wallet_of(name: str) -> Wallet:
    return Wallet(key(name), key(name).address)


@pytest.fixture(scope="module")
def accepted(chain: SmallChain, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    """A campaign of texts and one of pictures, judged and settled: three and two accepted, one rejected in each."""
    folder = tmp_path_factory.mktemp("handed-in")
    home = folder / "home"
    found = []
    for media, write in (("text/plain", write_texts), ("image/png", write_digits)):
        fields = {"media": [media], "title": f"All of {media}"}
        campaign = open_campaign(chain, wallet_of("sponsor"), home, **fields)
        files = write(folder / media.partition("/")[0], 3)
        if media == "text/plain":
            more = write_texts(folder / "more", 3, skip=40)
            files[1].write_text("\n".join(path.read_text() for path in more))
            assert files[1].stat().st_size > INLINE
            files[2].write_text(files[2].read_text()[: INLINE - 8] + "\r\n\u00e9\u20ac")
        refused = sha256(
            files[-1].read_bytes() if media == "image/png" else files[0].read_bytes()
        ).hexdigest()
        good = {sha256(path.read_bytes()).hexdigest() for path in files} - {refused}

        def judge(item: Any, good: set[str] = good) -> ItemScore:
            sound = sha256(item.path.read_bytes()).hexdigest() in good
            return ItemScore(90, 80, 70) if sound else ItemScore(90, 5, 5)

        threads = [
            threading.Thread(target=review, args=(chain, name, campaign, judge, folder), daemon=True)
            for name in REVIEWERS
        ]
        for thread in threads:
            thread.start()
        with Contributor(wallet_of("contributor"), endpoint=chain.endpoint, home=home) as contributor:
            contributor.upload(campaign, files)
            chain.until(lambda: all(item.settled for item in contributor.items(campaign)), 200)  # noqa: B023
        for thread in threads:
            thread.join(100)
        found.append(campaign)
    return found[0], found[1]


def review(
    chain: SmallChain, name: str, campaign: int, judge: Callable[[Any], ItemScore], folder: Path
) -> None:
    validator = Validator(
        wallet=wallet_of(name), endpoint=chain.endpoint, scorer=judge, home=folder / f"{name}-{campaign}"
    )
    validator.review_loop([campaign], batches=1)


def export(chain: SmallChain, campaign: int, folder: Path, **options: Any) -> Exported:
    identity = ChainIdentity(CHAIN_ID, chain.genesis_hash.hex())
    with Client(chain.endpoint, home=folder.parent / "home", chain=identity) as client:
        return client.export_dataset(campaign, folder, **options)


@pytest.fixture(scope="module")
def exported(
    chain: SmallChain, accepted: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Exported, Exported]:
    folder = tmp_path_factory.mktemp("exports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "INLINE_BYTES_MAX", INLINE)
        return export(chain, accepted[0], folder / "texts"), export(chain, accepted[1], folder / "pictures")


def test_an_export_holds_offline_and_says_what_it_is(exported: tuple[Exported, Exported]) -> None:
    for each, rows in zip(exported, (2, 2), strict=True):
        found = check(each.folder, checkpoint=each.manifest.checkpoint)
        assert found.manifest == each.manifest
        assert each.manifest.rows == rows
        assert each.manifest.reports == rows * len(REVIEWERS)
        assert {path.name for path in each.folder.iterdir()} == {
            "manifest.json", "README.md", "croissant.json", "data", "files", "reports.parquet", "proofs",
        }  # fmt: skip


def test_two_exports_have_the_same_rows(
    chain: SmallChain, exported: tuple[Exported, Exported], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "INLINE_BYTES_MAX", INLINE)
        again = export(chain, exported[0].manifest.campaign, tmp_path / "again")
    assert again.manifest.row_root == exported[0].manifest.row_root
    assert again.manifest.height > exported[0].manifest.height
    for name in ("data", "reports.parquet"):
        path = tmp_path / "again" / name
        first = exported[0].folder / name
        one, two = ((p / "train-00000.parquet" if p.is_dir() else p) for p in (first, path))
        assert list(tables.rows_in(one)) == list(tables.rows_in(two))


def test_the_rows_root_is_that_of_the_ledgers_items(
    chain: SmallChain, exported: tuple[Exported, Exported]
) -> None:
    """Made here anew, byte by byte, from what the node says of each item."""
    manifest = exported[1].manifest
    rows = []
    with Client(chain.endpoint) as client:
        for item in sorted(client.items(manifest.campaign), key=lambda each: each.item):
            if item.status != "paid":
                continue
            accepted = [step for step in item.history if step.status == "accepted"][-1]
            scores = item.scores or {}
            overall = (3 * scores["completeness"] + 4 * scores["accuracy"] + 3 * scores["relevance"]) // 10
            numbers = [(item.item, 8), (item.campaign, 8)]
            later = [
                (item.tier, 2),
                (item.category, 2),
                *((scores[name], 1) for name in ("completeness", "accuracy", "relevance")),
            ]
            last = [
                (overall, 1),
                (item.agreement_bps, 2),
                (item.batch, 8),
                (accepted.height, 8),
                (accepted.timestamp_ms, 8),
            ]
            row = b"".join(value.to_bytes(size, "big") for value, size in numbers)  # type: ignore[union-attr]
            row += bytes.fromhex(item.content.sha256) + bytes.fromhex(item.content.chunk_root)
            row += item.content.size.to_bytes(8, "big") + key("contributor").address
            row += sha256(item.media_type.encode()).digest()
            row += b"".join(value.to_bytes(size, "big") for value, size in [*later, *last])  # type: ignore[union-attr]
            rows.append(row + bytes(200 - len(row)))
    assert root_of(rows).hex() == manifest.row_root


# -- changing it


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def copy(exported: tuple[Exported, Exported], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported[0].folder, tmp_path / "copy"))


def test_any_byte_changed_anywhere_is_found(exported: tuple[Exported, Exported], copy: Path) -> None:
    checkpoint = exported[0].manifest.checkpoint
    chance = random.Random(5)
    tried = 0
    for path in every_file(copy):
        whole = path.read_bytes()
        places = {0, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(12))}
        for place in sorted(places):
            changed = bytearray(whole)
            changed[place] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            with pytest.raises(ProtocolError):
                check(copy, checkpoint=checkpoint)
            tried += 1
        path.write_bytes(whole)
    assert tried > 80
    check(copy, checkpoint=checkpoint)


def rewritten(folder: Path, **fields: Any) -> None:
    """Makes the manifest fit the files again, as a forger would."""
    manifest = bundle.read_manifest(folder)
    files = [bundle.entry_of(folder, name) for name in bundle.files_in(folder)]
    forged = msgspec.structs.replace(manifest, files=files, **fields)
    (folder / bundle.MANIFEST).write_bytes(forged.encoded())


def rewrite_table(
    path: Path, schema: Any, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> None:
    rows = change(list(tables.rows_in(path)))
    writer = tables.TableWriter(path, schema)
    for row in rows:
        writer.add(row)
    writer.close()


def forge_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"text": "forged"} if row["text"] else row for row in rows]


def forge_score(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"accuracy": 100} for row in rows]


def forge_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"accepted_at": row["accepted_at"].replace(microsecond=123_000)} for row in rows]


def leave_one_out(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[1:]


def add_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, rows[-1]]


@pytest.mark.parametrize("change", [forge_text, forge_score, forge_time, leave_one_out, add_one])
def test_forged_data_are_found_though_all_hashes_fit(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    exported: tuple[Exported, Exported],
    copy: Path,
) -> None:
    rewrite_table(copy / "data/train-00000.parquet", tables.data_schema("text"), change)
    rewritten(copy)
    with pytest.raises(DatasetError, match=r"data|bytes|judged"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


@pytest.mark.parametrize("change", [leave_one_out, add_one, forge_score])
def test_forged_reports_are_found(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
    exported: tuple[Exported, Exported],
    copy: Path,
) -> None:
    rewrite_table(copy / "reports.parquet", tables.report_schema(), change)
    rewritten(copy)
    with pytest.raises(DatasetError, match="reports"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


@pytest.mark.parametrize(
    ("table", "keys"), [("items", ("item",)), ("seats", ("batch", "round", "validator"))]
)
def test_no_byte_of_a_row_or_of_its_path_can_be_changed_though_all_hashes_fit(
    table: str, keys: tuple[str, ...], exported: tuple[Exported, Exported], copy: Path
) -> None:
    """The rows as the ledger holds them, and what leads from them to the block: a sample of all their bytes."""
    path, schema, tried = copy / f"proofs/{table}.parquet", tables.proof_schema(*keys), 0
    honest = list(tables.rows_in(path))
    for column, step in (("value", 9), ("page", 61), ("siblings", 1)):
        for place in range(0, len(honest[0][column]), step):
            changed = [dict(row) for row in honest]
            was = changed[0][column]
            if column == "siblings":
                changed[0][column] = [bytes(32) if at == place else each for at, each in enumerate(was)]
            else:
                changed[0][column] = was[:place] + bytes([was[place] ^ 1]) + was[place + 1 :]
            rewrite_table(path, schema, lambda _, changed=changed: changed)  # type: ignore[misc]
            rewritten(copy)
            with pytest.raises(ProtocolError):
                check(copy, checkpoint=exported[0].manifest.checkpoint)
            tried += 1
    assert tried > 30
    rewrite_table(path, schema, lambda _: honest)
    rewritten(copy)
    check(copy, checkpoint=exported[0].manifest.checkpoint)


def test_an_item_that_is_left_out_everywhere_changes_the_root(
    exported: tuple[Exported, Exported], copy: Path
) -> None:
    rewrite_table(copy / "proofs/items.parquet", tables.proof_schema("item"), leave_one_out)
    rewrite_table(copy / "data/train-00000.parquet", tables.data_schema("text"), leave_one_out)
    rewritten(copy, rows=1)
    with pytest.raises(DatasetError, match="row_root"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


@pytest.mark.parametrize(
    ("name", "value"),
    [("title", "Other"), ("licence", "MIT"), ("sponsor", "omnit1x"), ("rows", 3), ("campaign", 1), ("height", 3),
     ("row_root", "00" * 32), ("chain_id", "other"), ("reports", 0), ("block", "00" * 32)],
)  # fmt: skip
def test_a_manifest_that_says_something_else_is_found(
    name: str, value: object, exported: tuple[Exported, Exported], copy: Path
) -> None:
    rewritten(copy, **{name: value})
    with pytest.raises(DatasetError):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


@pytest.mark.parametrize("name", [bundle.CARD, bundle.CROISSANT])
def test_words_that_do_not_follow_from_the_data_are_found(
    name: str, exported: tuple[Exported, Exported], copy: Path
) -> None:
    path = copy / name
    path.write_text(path.read_text().replace("All of", "None of"))
    rewritten(copy)
    with pytest.raises(DatasetError, match="description"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


def test_files_that_do_not_belong_are_found(exported: tuple[Exported, Exported], copy: Path) -> None:
    (copy / "files" / "spare.bin").write_bytes(b"spare")
    with pytest.raises(DatasetError, match="does not list"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)
    rewritten(copy)
    with pytest.raises(DatasetError, match="belongs to no item"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)
    (copy / "files" / "spare.bin").unlink()
    (copy / "README.md").unlink()
    with pytest.raises(DatasetError, match="missing"):
        check(copy, checkpoint=exported[0].manifest.checkpoint)


def test_a_path_can_t_lead_out_of_the_folder(copy: Path) -> None:
    for name in ("../secret", "files/../../secret", "/etc/hostname", "files", "data/x", "files/a/b"):
        with pytest.raises(DatasetError):
            bundle.inside(copy, name)


# -- what is trusted


def test_without_a_block_to_trust_nothing_is_said_to_hold(exported: tuple[Exported, Exported]) -> None:
    with pytest.raises(DatasetError, match="nothing was given") as caught:
        check(exported[0].folder)
    assert exported[0].manifest.checkpoint in str(caught.value)
    with pytest.raises(DatasetError, match="another block"):
        check(exported[0].folder, checkpoint="7:" + "ab" * 32)


def test_the_voters_of_the_block_below_the_epoch_are_enough(exported: tuple[Exported, Exported]) -> None:
    proof = decode(bundle.ChainProof, (exported[0].folder / bundle.CHAIN_PROOF).read_bytes())
    boundary = proof.boundary
    found = check(exported[0].folder, checkpoint=f"{boundary.height}:{boundary.hash.hex()}")
    assert f"validators who follow block {boundary.height}" in found.trusted


# -- using it


def test_rows_come_whole_one_by_one_and_by_place(exported: tuple[Exported, Exported], tmp_path: Path) -> None:
    texts, pictures = (Dataset(each.folder) for each in exported)
    for found in (texts, pictures):
        assert len(found) == len(list(found)) == found.manifest.rows
        assert [found[place] for place in range(len(found))] == list(found)
        assert found[-1] == found[len(found) - 1]
        with pytest.raises(IndexError):
            found[len(found)]
        assert found.verify(found.manifest.checkpoint).manifest == found.manifest
    assert texts.columns[1] == "text"
    assert pictures.columns[1] == "image"
    for row in pictures:
        assert sha256(row["image"]["bytes"]).hexdigest() == row["sha256"]
    for row in texts:
        data = row["text"].encode()
        assert sha256(data).hexdigest() == row["sha256"]
    assert (
        [bool(row["file"]) for row in texts] == [len(row["text"]) > INLINE for row in texts] == [True, False]
    )


def row_place(data: Dataset, row: dict[str, Any]) -> int:
    return next(place for place in range(len(data)) if data[place]["item"] == row["item"])


def test_items_that_are_too_large_for_memory_are_given_by_their_files(
    exported: tuple[Exported, Exported],
) -> None:
    for each, column, name in ((exported[0], "text", "file"), (exported[1], "image", "path")):
        whole, few = Dataset(each.folder), Dataset(each.folder, bytes_max=1)
        for row, other in zip(whole, few, strict=True):
            assert other["sha256"] == row["sha256"]
            assert few[row_place(few, row)] == few[row_place(few, row)] == other
            where = other if column == "text" else other[column]
            held = where["text" if column == "text" else "bytes"]
            if held is None:
                assert sha256(Path(where[name]).read_bytes()).hexdigest() == row["sha256"]
            else:
                assert other == row, "what lies in the table is in memory as it is"
    assert any(row["text"] is None for row in Dataset(exported[0].folder, bytes_max=1))


def test_pandas_and_hugging_face_read_it(
    exported: tuple[Exported, Exported], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts, pictures = (Dataset(each.folder) for each in exported)
    frame = texts.to_pandas()
    assert list(frame["item"]) == [row["item"] for row in texts]
    assert list(frame.columns) == texts.columns
    loaded = pictures.to_huggingface()
    assert len(loaded) == len(pictures)
    assert loaded[0]["sha256"] == pictures[0]["sha256"]
    import datasets

    whole = datasets.load_dataset(str(exported[1].folder), split="train")
    assert whole.features["image"].dtype == "PIL.Image.Image"
    assert whole[0]["image"].size == (8, 8)


def test_metadata_name_every_file_and_column(exported: tuple[Exported, Exported]) -> None:
    for each in exported:
        document = json.loads((each.folder / "croissant.json").read_text())
        assert document["conformsTo"].endswith("croissant/1.1")
        files = {
            entry["contentUrl"]: entry
            for entry in document["distribution"]
            if entry["@type"] == "cr:FileObject"
        }
        for path, entry in files.items():
            assert sha256((each.folder / path).read_bytes()).hexdigest() == entry["sha256"]
        fields = {field["name"] for field in document["recordSet"][0]["field"]}
        assert fields == set(Dataset(each.folder).columns)
        card = (each.folder / "README.md").read_text()
        assert card.startswith("---\n")
        assert each.manifest.row_root in card


# -- on the way


def test_an_interrupted_export_goes_on_with_the_bytes_that_are_there(
    chain: SmallChain, accepted: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = AsyncClient.state_row

    async def failing(self: Any, row: bytes) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(AsyncClient, "state_row", failing)
    with pytest.raises(KeyboardInterrupt):
        export(chain, accepted[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out.partial" / ".parts").iterdir())) == 2
    monkeypatch.setattr(AsyncClient, "state_row", real)
    from omnitensor.sdk.dataset import gather

    download = gather.download_file

    async def counted(*args: Any) -> None:
        asked.append(str(args[1]))
        await download(*args)

    monkeypatch.setattr(gather, "download_file", counted)
    done = export(chain, accepted[1], tmp_path / "out")
    assert asked == []
    assert not (tmp_path / "out.partial").exists()
    check(done.folder, checkpoint=done.manifest.checkpoint)


def test_a_folder_that_is_there_and_a_campaign_without_data_are_refused(
    chain: SmallChain, accepted: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DatasetError, match="there already"):
        export(chain, accepted[0], tmp_path / "there")
    empty = open_campaign(chain, wallet_of("sponsor"), tmp_path / "home")
    with pytest.raises(DatasetError, match="no accepted item"):
        export(chain, empty, tmp_path / "none")
    assert not (tmp_path / "none").exists()


# -- the command line


def test_commands_export_show_and_verify(
    chain: SmallChain, accepted: tuple[int, int], tmp_path: Path
) -> None:
    person, folder = Person(tmp_path / "person", chain.endpoint), str(tmp_path / "data set")
    genesis = f"0:{chain.genesis_hash.hex()}"

    def dataset(*arguments: str) -> Said:
        return person.type("dataset", *arguments)

    said = dataset("export", "--task-id", str(accepted[0]), "--to", folder, "--checkpoint", genesis, "--json")
    assert said.code == 0, said
    told = said.json
    assert told["rows"] == 2
    said = dataset("verify", folder, "--checkpoint", told["checkpoint"])
    assert said.code == 0, said
    assert "every byte holds" in said.out
    said = dataset("verify", folder, "--online", "--checkpoint", genesis, "--json")
    assert said.code == 0, said
    assert said.json["verified"] is True
    assert told["row_root"] in dataset("show", folder).out
    said = dataset("verify", folder)
    assert (said.code, "nothing was given" in said.err) == (1, True)
    (tmp_path / "data set" / "README.md").write_text("changed")
    said = dataset("verify", folder, "--checkpoint", told["checkpoint"])
    assert (said.code, "README.md" in said.err) == (1, True)
    said = dataset("verify", str(tmp_path), "--checkpoint", told["checkpoint"])
    assert (said.code, "manifest.json" in said.err) == (1, True)
