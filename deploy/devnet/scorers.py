"""Reviewers' own judgement of a text or a picture, against a campaign's instructions. Knows nothing of the chain.

Each reviewer learns from its own part of data that is never submitted: of digits, with a classifier of scikit-learn; of
texts, with the statistics of words. What these can't tell (whether a page is up to date, say) they do not score down.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deploy.devnet import samples
from omnitensor.sdk.batches import DataItem

LEARNED_SHARE: Final = 0.8
"""Of the reviewers' half of the data, what one reviewer has seen."""

FAMILIAR_SPAN: Final = (0.45, 0.85)
"""Share of a text's words that are known from texts on the subject: from no points to all."""
SUBJECT_SPAN: Final = (0.02, 0.12)
"""Share of a text's words that the instructions use."""
LETTERS_SPAN: Final = (0.5, 0.9)
"""Share of a text's letter triples that occur in the language."""
DISTANCE_SPAN: Final = (46.0, 26.0)
"""Distance in ink from the nearest known digits."""

_WORD = re.compile(r"[a-z]{2,}")
_ENDINGS: Final = ("ies", "ing", "es", "ed", "s")
_COMMON: Final = frozenset(
    "the an of to in is it and or for on as at by be if not are with that this from which what who how its can no other"
    " about itself nobody must one each".split()
)


@dataclass(frozen=True)
class Judgement:
    """Points 0..100 for two criteria; completeness is left to the SDK's own checks."""

    accuracy: int
    relevance: int


class Scorer:
    """A reviewer's scorer for ``Validator(scorer=...)``: texts by one judge, pictures by the other. Learns when first needed."""

    def __init__(self, seed: int) -> None:
        self._seed: Final = seed
        self._texts: TextJudge | None = None
        self._digits: DigitJudge | None = None

    def __call__(self, item: DataItem) -> dict[str, object]:
        judge = self._judge_of(item.media_type)
        if isinstance(judge, DigitJudge):
            judgement = judge.judge(item.image(), item.instructions)  # decoded elsewhere: it is a stranger's
        else:
            judgement = judge.judge(item.read_bytes(), item.instructions)
        return {
            "accuracy": judgement.accuracy,
            "relevance": judgement.relevance,
            "reasons": [f"{type(judge).__name__} gives {judgement.accuracy} and {judgement.relevance}"],
        }

    def _judge_of(self, media_type: str) -> "TextJudge | DigitJudge":
        if media_type.startswith("image/"):
            self._digits = self._digits or DigitJudge(self._seed)
            return self._digits
        self._texts = self._texts or TextJudge(self._seed)
        return self._texts


class TextJudge:
    """Judges English texts by their words."""

    def __init__(self, seed: int) -> None:
        pages = samples.documentation()
        names = [name for name in pages if samples.learned_from(name)]
        learned = np.random.default_rng(seed).permutation(len(names))[: round(LEARNED_SHARE * len(names))]
        text = [word for place in learned for word in _words(pages[names[place]])]
        self._vocabulary: Final = {_stem(word) for word in text}
        self._triples: Final = {triple for word in text for triple in _triples(word)}

    def judge(self, data: bytes, instructions: str) -> Judgement:
        words = [word for word in _words(data.decode("utf-8", "replace")) if word not in _COMMON]
        if not words:
            return Judgement(0, 0)
        stems = [_stem(word) for word in words]
        subject = {_stem(word) for word in _words(instructions) if word not in _COMMON}
        familiar = _points(_share(stem in self._vocabulary for stem in stems), FAMILIAR_SPAN)
        on_subject = _points(_share(stem in subject for stem in stems), SUBJECT_SPAN)
        legible = _share(triple in self._triples for word in words for triple in _triples(word))
        return Judgement(_points(legible, LETTERS_SPAN), (familiar + on_subject) // 2)


class DigitJudge:
    """Judges pictures of digits: how sure a classifier is which digit it is, and how near it lies to any known digit."""

    def __init__(self, seed: int) -> None:
        cells, labels = samples.digits()
        cells, labels = cells[::2].reshape(-1, 64), labels[::2]
        learned = np.random.default_rng(seed).permutation(len(labels))[: round(LEARNED_SHARE * len(labels))]
        classifier: Any = (
            KNeighborsClassifier(n_neighbors=5)
            if seed % 2
            else make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
        )
        self._classifier: Final = classifier.fit(cells[learned], labels[learned])
        self._known: Final = NearestNeighbors(n_neighbors=3).fit(cells[learned])

    def judge(self, picture: Image.Image, instructions: str) -> Judgement:
        cells = samples.read_cells(picture).reshape(1, 64)
        near = _points(float(self._known.kneighbors(cells)[0].mean()), DISTANCE_SPAN)
        sure = round(100 * float(self._classifier.predict_proba(cells).max()))
        # A classifier is sure of noise, too: it has learned nothing but digits.
        return Judgement(min(sure, near), near)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _triples(word: str) -> list[str]:
    marked = f"^{word}$"
    return [marked[place : place + 3] for place in range(len(marked) - 2)]


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)]
    return word


def _share(truths: Iterable[bool]) -> float:
    found = list(truths)
    return sum(found) / len(found) if found else 0.0


def _points(value: float, span: tuple[float, float]) -> int:
    """0 at the span's first end, 100 at its second, in between by proportion."""
    return round(100 * min(1.0, max(0.0, (value - span[0]) / (span[1] - span[0]))))
