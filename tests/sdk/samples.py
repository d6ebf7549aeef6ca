"""Real input for tests: texts that come with Python and pictures that come with scikit-learn."""

from __future__ import annotations

import functools
from pathlib import Path
from pydoc_data import topics
from typing import Any

from PIL import Image


def texts() -> dict[str, str]:
    """Documentation pages of Python, by name."""
    return {name: text for name, text in sorted(topics.topics.items()) if len(text) > 400}


@functools.cache
def digits() -> Any:
    from sklearn.datasets import load_digits

    return load_digits().images


def write_texts(folder: Path, count: int, skip: int = 0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in list(texts())[skip : skip + count]:
        path = folder / f"{name}.txt"
        path.write_text(texts()[name], encoding="utf-8")
        found.append(path)
    return found


def write_digits(folder: Path, count: int, skip: int = 0) -> list[Path]:
    """Eight by eight pictures of handwritten digits, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(skip, skip + count):
        path = folder / f"digit-{number}.png"
        Image.fromarray((digits()[number] * 15).astype("uint8")).save(path)
        found.append(path)
    return found
