"""Real input for a devnet: digits that people wrote, as PNG files, and pages of Python's own documentation, as text files.

Beside them honest bad ones, so that there is something to reject. Knows files; nothing of the chain. The same call writes
the same bytes every time.
"""

import pydoc_data.topics
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import sklearn
from PIL import Image
from sklearn.datasets import load_digits

PIXELS_PER_CELL: Final = 8
"""A digit of the collection has 8 by 8 cells; its picture has 64 by 64 pixels."""
INK_MAX: Final = 16
"""A cell's ink is 0..16."""

TEXT_INSTRUCTIONS: Final = """\
Reference documentation of the Python programming language, in English: how a statement, an expression, a name, an object
or a type behaves. Wanted are texts about the language itself: statements, expressions, operators, values, names, variables,
assignment, attributes, objects, classes, instances, methods, functions, arguments, calls, parameters, modules, packages,
imports, exceptions, errors, types, numbers, strings, bytes, sequences, lists, tuples, dictionaries, mappings, sets,
iterators, generators, coroutines, loops, conditions, comparisons, literals, syntax, grammar, scopes and the data model.
Not wanted are texts on other subjects, advertising, and what nobody can read.

language: en
min words: 20
"""
IMAGE_INSTRUCTIONS: Final = """\
Pictures of one handwritten digit each, 0 to 9, light on dark, filling the picture. It must be clear which digit it is.
Not wanted are empty pictures, noise, and anything that is no digit.

min width: 32
min height: 32
"""

TOPICS: Final = ("assignment", "attribute-access", "class", "exceptions", "function", "lists", "try", "with")
"""Pages to submit: all from the half that reviewers do not learn from."""
DIGITS: Final = (1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
"""Places of pictures to submit, all odd: reviewers learn from the even ones."""


@dataclass(frozen=True)
class Sample:
    """One file, and what an attentive reviewer ought to say of it."""

    path: Path
    good: bool
    what: str


def write_texts(folder: Path, count: int = len(TOPICS)) -> tuple[Sample, ...]:
    """Pages of documentation, then a text on another subject and one of meaningless letters."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = documentation()
    samples = []
    for name in TOPICS[:count]:
        assert name in submitted_topics(), f"{name} is in the reviewers' half"
        path = folder / f"{name}.txt"
        path.write_text(pages[name], encoding="utf-8")
        samples.append(Sample(path, True, "a page of Python's documentation"))
    wine = folder / "wine.txt"
    shutil.copyfile(Path(sklearn.__file__).parent / "datasets" / "descr" / "wine_data.rst", wine)
    samples.append(Sample(wine, False, "a text on another subject: the chemistry of wines"))
    letters = folder / "letters.txt"
    letters.write_text(_meaningless(), encoding="utf-8")
    samples.append(Sample(letters, False, "letters without meaning"))
    return tuple(samples)


def write_images(folder: Path, count: int = 8) -> tuple[Sample, ...]:
    """Handwritten digits, then an empty picture and one of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    cells, labels = digits()
    samples = []
    for place in DIGITS[:count]:
        assert place % 2 == 1, f"digit {place} is in the reviewers' half"
        path = folder / f"digit-{labels[place]}-{place}.png"
        _write_png(path, cells[place])
        samples.append(Sample(path, True, f"a handwritten {labels[place]}"))
    blank = folder / "blank.png"
    _write_png(blank, np.zeros((8, 8)))
    samples.append(Sample(blank, False, "an empty picture"))
    noise = folder / "noise.png"
    _write_png(noise, np.random.default_rng(0).integers(0, INK_MAX + 1, (8, 8)))
    samples.append(Sample(noise, False, "noise, no digit"))
    return tuple(samples)


def write_copy(original: Sample) -> Sample:
    """The same bytes under another name."""
    path = original.path.with_name(f"copy-of-{original.path.name}")
    shutil.copyfile(original.path, path)
    return Sample(path, False, f"an exact copy of {original.path.name}")


def documentation() -> dict[str, str]:
    """All pages of Python's built-in documentation by name."""
    return dict(sorted(pydoc_data.topics.topics.items()))


def submitted_topics() -> list[str]:
    """Names of the half of the pages that may be submitted; reviewers learn from the others."""
    return [name for name in documentation() if not learned_from(name)]


def learned_from(topic: str) -> bool:
    """Whether a page is in the reviewers' half. By name, since the pages differ between versions of Python."""
    return topic not in TOPICS and sum(topic.encode()) % 2 == 0


def digits() -> tuple[Any, Any]:
    """1,797 pictures of 8 by 8 cells of ink 0..16, and the digits that they show."""
    collection = load_digits()
    return collection.images, collection.target


def read_cells(picture: Image.Image) -> Any:
    """A picture's 8 by 8 cells of ink, as ``digits`` has them."""
    small = picture.convert("L").resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small, dtype=float) * INK_MAX / 255


def _write_png(path: Path, cells: Any) -> None:
    shades = np.kron(np.asarray(cells) * 255 / INK_MAX, np.ones((PIXELS_PER_CELL, PIXELS_PER_CELL)))
    Image.fromarray(shades.round().astype(np.uint8)).save(path, format="PNG")


def _meaningless() -> str:
    # Seeded, so that every run submits the same bytes; nothing secret hangs on it.
    chance = random.Random(1)
    words = (
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(300)
    )
    return " ".join(words) + "\n"
