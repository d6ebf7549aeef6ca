"""The built-in checks on real texts and pictures, and what becomes of a scorer's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image

from omnitensor.media.language import guess_language
from omnitensor.protocol.bodies import DuplicateOf
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.reviews import Flag, ItemScore, decode_report
from omnitensor.protocol.types import ItemId
from omnitensor.sdk import DataBatch, DataItem, InputError
from omnitensor.sdk.checks import SOUND, validate
from omnitensor.sdk.media import agrees, sniff
from omnitensor.sdk.requirements import requirements_in
from omnitensor.sdk.results import CategoryInfo, ContentInfo, Nearest, SpecInfo
from tests.sdk.samples import texts, write_digits, write_texts


def spec(media: list[str], instructions: str = "") -> SpecInfo:
    return SpecInfo(
        title="A campaign",
        instructions=instructions,
        media=media,
        licence="CC0-1.0",
        tier_bps=[10_000],
        categories=[CategoryInfo(name="general", importance_bps=10_000)],
        unit_price=10,
        review_fee=1,
        item_bond=0,
        criterion_weights=[3_000, 4_000, 3_000],
        thresholds=[60, 60, 60],
        overall_threshold=60,
        first_seats=3,
        second_seats=9,
        agree_min_bps=7_000,
        contributor_share_max_bps=10_000,
        item_bytes_max=100_000,
        closes_at=100,
    )


def batch_of(paths: list[Path | None], media_type: str, instructions: str = "", media: str = "") -> DataBatch:
    items = []
    for position, path in enumerate(paths):
        found = content_id_of(path.read_bytes() if path else b"gone")
        content = ContentInfo(
            sha256=found.sha256.hex(), size=found.size, chunk_root=found.chunk_root.hex(), cid=found.cid
        )
        items.append(
            DataItem(
                position, 100 + position, media_type, content, "omnit1x", 0, "general", instructions, path
            )
        )
    used = spec([media or media_type], instructions)
    return DataBatch(7, 1, 1, used.title, instructions, used, items, Path("."))


def worst(
    path: Path | None, media_type: str = "text/plain", instructions: str = "", **more: Any
) -> tuple[int, str]:
    """Lowest score and reasons of one item."""
    (judged,) = validate(batch_of([path], media_type, instructions, **more))
    return min(judged.score.criteria), "; ".join(judged.reasons)


def written(folder: Path, content: str | bytes, name: str = "item.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# -- texts


def test_real_texts_are_sound(tmp_path: Path) -> None:
    """Every documentation page of Python that is a running text passes, and is known to be English."""
    paths = [path for path in write_texts(tmp_path, 40) if path.stat().st_size <= 100_000]
    found = validate(batch_of(list(paths), "text/plain", "language: en\nmin words: 20"))
    sound = [judged for judged in found if min(judged.score.criteria) == SOUND]
    assert len(sound) >= len(paths) * 9 // 10, [judged for judged in found if judged not in sound]
    assert all(judged.reasons for judged in found)
    assert decode_report(found.report(), len(paths)) == tuple(judged.score for judged in found)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the file is empty"),
        (" \n\t \n", "blank"),
        ("Too short", "only 2 words"),
        (b"\xff\xfe\x00broken", "does not decode"),
        (b"Nearly a text, but \x00 for a zero byte in the middle of it.", "U+0000"),
        ("buy now " * 400, "repeats itself"),
        ("12345 67890 +-*/ 3.14159 2.71828 1.41421 {}[]();: 99 88 77", "hardly a text"),
        ("A fine text about nothing in particular. " * 3_000, "over the campaign's 100000"),
    ],
)
def test_bad_text(tmp_path: Path, content: str | bytes, reason: str) -> None:
    score, said = worst(written(tmp_path, content))
    assert score < 60
    assert reason in said


def test_text_in_another_language(tmp_path: Path) -> None:
    german = "Der Wal ist ein Säugetier und lebt im Meer, wo er mit anderen Walen zusammen über weite Strecken zieht. "
    path = written(tmp_path, german * 2)
    assert worst(path, instructions="language: en") == (15, "the language is de, not en")
    assert worst(path, instructions="language: de")[0] == SOUND
    assert worst(path)[0] == SOUND


def test_bounds_and_keywords_of_the_instructions(tmp_path: Path) -> None:
    path = written(
        tmp_path, "The blue whale is the largest animal that is known to have ever lived on this planet."
    )
    assert (
        worst(path, instructions="Write much.\n- min words: 40")[1] == "17 words, fewer than the 40 asked for"
    )
    assert worst(path, instructions="max characters: 50")[0] < 60
    assert worst(path, instructions="keywords: shark, ray")[1].startswith("none of the keywords")
    assert worst(path, instructions="keywords: shark, whale")[0] == SOUND


def test_wrong_media_type(tmp_path: Path) -> None:
    (picture,) = write_digits(tmp_path, 1)
    assert "its bytes are image/png" in worst(picture, "text/plain")[1]
    assert "not among the campaign's media" in worst(picture, "image/png", media="text/plain")[1]


def test_unavailable_item() -> None:
    (judged,) = validate(batch_of([None], "text/plain"))
    assert judged.score == ItemScore(0, 0, 0, Flag.UNAVAILABLE)
    assert judged.flag_names == ["unavailable"]


def test_exact_duplicate_is_the_later_item(tmp_path: Path) -> None:
    one, two, three = write_texts(tmp_path, 3)
    three.write_bytes(one.read_bytes())
    found = validate(batch_of([one, two, three], "text/plain"))
    assert [judged.flags for judged in found] == [0, 0, Flag.DUPLICATE]
    assert "same bytes as item 100" in found.judgements[2].reasons[0]
    assert max(found.judgements[2].score.criteria) < 60


def test_near_duplicate_is_flagged_with_its_reference_and_scored_as_it_is(tmp_path: Path) -> None:
    batch = batch_of(list(write_texts(tmp_path, 2)), "text/plain")
    batch.items[1] = replace(batch.items[1], near=Nearest(item=42, distance=7))
    first, second = found = validate(batch, scorer=lambda _: (90, 80, 70))
    assert (first.flags, first.duplicate_of) == (0, None)
    assert second.score == ItemScore(90, 80, 70, Flag.DUPLICATE)
    assert second.reasons == ("nearly repeats item 42: 7 of 256 bits of their fingerprints differ",)
    assert found.references() == (DuplicateOf(1, ItemId(42)),)
    assert found.with_scores(1, flags=0).references() == ()
    assert found.with_scores(0, flags=Flag.DUPLICATE).references() == (DuplicateOf(1, ItemId(42)),)


# -- pictures


def test_real_pictures_are_sound(tmp_path: Path) -> None:
    found = validate(batch_of(list(write_digits(tmp_path, 60)), "image/png", "min width: 8\nmax height: 8"))
    assert all(min(judged.score.criteria) == SOUND for judged in found)


def test_bad_pictures(tmp_path: Path) -> None:
    (good,) = write_digits(tmp_path, 1)
    cut = written(tmp_path, good.read_bytes()[:-30], "cut.png")
    assert worst(cut, "image/png")[0] == 0
    flat = tmp_path / "flat.png"
    Image.new("RGB", (64, 64), "red").save(flat)
    assert "one flat colour" in worst(flat, "image/png")[1]
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(clear)
    assert "one flat colour" in worst(clear, "image/png")[1]
    assert "8 pixels wide, fewer than the 64 asked for" in worst(good, "image/png", "min width: 64")[1]
    jpeg = tmp_path / "really.jpg"
    Image.open(good).convert("RGB").resize((64, 64)).save(jpeg)
    assert "declared as image/png, but its bytes are image/jpeg" in worst(jpeg, "image/png")[1]


def test_picture_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A header that promises a hundred thousand pixels a side is believed to promise it, and not decoded."""
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    assert worst(written(tmp_path, bomb, "bomb.png"), "image/png")[0] == 0


# -- scorers


def test_scorer_decides_where_checks_find_nothing(tmp_path: Path) -> None:
    paths: list[Path | None] = list(write_texts(tmp_path, 5))
    answers: list[Any] = [
        ItemScore(90, 10, 80, Flag.LICENCE),
        (70, 60, 50),
        {"relevance": 5, "reasons": ["about something else"]},
        95,
        None,
    ]
    found = validate(batch_of(paths, "text/plain"), lambda item: answers[item.position])
    assert [judged.score.criteria for judged in found] == [
        (90, 10, 80),
        (70, 60, 50),
        (SOUND, SOUND, 5),
        (95, 95, 95),
        (SOUND, SOUND, SOUND),
    ]
    assert found.judgements[0].flag_names == ["licence"]
    assert found.judgements[2].reasons == ("about something else",)


def test_checks_bound_what_a_scorer_gives(tmp_path: Path) -> None:
    (judged,) = validate(batch_of([written(tmp_path, "buy now " * 400)], "text/plain"), lambda _: 100)
    assert judged.score.criteria == (25, 25, 100)


@pytest.mark.parametrize(
    "answer", [101, -1, (1, 2), {"beauty": 3}, "text", object(), {"flags": 999}, float("nan")]
)
def test_scorer_that_answers_nonsense(tmp_path: Path, answer: Any) -> None:
    with pytest.raises(InputError):
        validate(batch_of(list(write_texts(tmp_path, 1)), "text/plain"), lambda _: answer)


def test_scorer_that_fails(tmp_path: Path) -> None:
    batch = batch_of(list(write_texts(tmp_path, 1)), "text/plain")

    def fails(item: DataItem) -> int:
        raise ZeroDivisionError("by zero")

    with pytest.raises(InputError, match="the scorer failed on item 100") as error:
        validate(batch, fails)
    assert error.value.remedy
    (judged,) = validate(batch, fails, lenient=True)
    assert judged.score.criteria == (SOUND, SOUND, SOUND)
    assert "the scorer failed (ZeroDivisionError)" in judged.reasons


def test_scores_can_be_changed_by_hand(tmp_path: Path) -> None:
    found = validate(batch_of(list(write_texts(tmp_path, 2)), "text/plain"))
    changed = found.with_scores(1, accuracy=5, flags=int(Flag.POISONED))
    assert changed.judgements[1].accuracy == 5
    assert found.judgements[1].accuracy == SOUND
    for position, wrong in ((9, {"accuracy": 5}), (0, {"beauty": 1})):
        with pytest.raises(InputError):
            found.with_scores(position, **wrong)


# -- parts

SAMPLES = {
    "en": "It was a bright day in April and the clocks were striking, but nobody in the street looked at them for long.",
    "fr": "Il y avait dans la ville une maison que les habitants ne regardaient plus, et qui était pour les enfants un monde.",
    "es": "En un lugar de la ciudad había una casa que los niños miraban con miedo, y por la noche nadie pasaba por allí.",
    "it": "Nel mezzo della piazza c'è una fontana che i bambini non guardano più, e la gente passa senza fermarsi per bere.",
    "nl": "Er was eens een huis in de stad dat niemand meer zag, en de kinderen speelden er niet omdat het te donker was.",
    "ru": "Это был дом, в котором никто не жил, и дети не играли там, потому что он был слишком старый для них.",
    "uk": "Це був дім, у якому ніхто не жив, і діти не грали там, тому що він був для них занадто старий, як і все.",
    "el": "Στην πόλη υπήρχε ένα σπίτι που κανείς δεν κοίταζε πια, και τα παιδιά δεν έπαιζαν εκεί.",
    "ja": "町に誰も見ない家がありました。子供たちはそこで遊びませんでした。",
    "zh": "城里有一座没有人看的房子，孩子们不在那里玩。",
    "ko": "도시에는 아무도 보지 않는 집이 있었고 아이들은 거기서 놀지 않았다.",
    "ar": "كان في المدينة بيت لا ينظر إليه أحد، ولم يكن الأطفال يلعبون هناك.",
    "und": "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed eiusmod tempor incididunt labore magna aliqua.",
}


@pytest.mark.parametrize(("language", "text"), SAMPLES.items())
def test_language(language: str, text: str) -> None:
    assert guess_language(text).language == language


def test_language_of_real_pages() -> None:
    guessed = [guess_language(text).language for text in texts().values()]
    assert set(guessed) <= {"en", "und"}
    assert guessed.count("en") >= len(guessed) * 9 // 10


@given(st.text(max_size=300))
def test_language_of_anything(text: str) -> None:
    assert guess_language(text).language


@given(st.text(max_size=400))
def test_requirements_of_anything(text: str) -> None:
    requirements_in(text)


def test_requirements() -> None:
    found = requirements_in(
        "Photographs of birds.\n  * Language: EN-gb\nMin  Width : 1,024 px\nmax words=50\nkeywords: Owl, hawk ,\nnote: none"
    )
    assert (found.language, found.width_min, found.words_max) == ("en", 1_024, 50)
    assert found.keywords == ("owl", "hawk")


@given(st.binary(max_size=200))
def test_sniffing_anything(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(content)
    facts = sniff(path)
    assert facts.size == len(content)
    assert facts.media_type or facts.fault


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_picture_format_is_known(tmp_path: Path, form: str) -> None:
    path = tmp_path / "picture"
    Image.new("RGB", (20, 10), "blue").save(path, format=form)
    facts = sniff(path)
    assert (facts.media_type, facts.width, facts.height, facts.fault) == (f"image/{form.lower()}", 20, 10, "")
    assert agrees(f"image/{form.lower()}", facts)
