"""How well fingerprints find near duplicates: precision and recall on real texts and pictures with planted edits.

Two contents are near duplicates where their sets of five-byte runs, folded as a fingerprint folds them, overlap by at least half
(Jaccard). That is judged twice: by the sets themselves, and by MinHash as datasketch makes it, an estimate from other hashes and
other code. What was found is a pair whose fingerprints are within the parameter.
"""

import io
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pydoc_data import topics
from typing import Final

from datasketch import MinHash
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from consensus.work.fingerprint import distance, fingerprint
from omnitensor.protocol.limits import near_duplicate_bytes_min
from omnitensor.protocol.params import DEFAULTS

JACCARD_MIN: Final = 0.5
PERMUTATIONS: Final = 256
"""Of MinHash: its estimate of a Jaccard of a half has a deviation of 3 %."""
PICTURES: Final = 40
PATCH: Final = 96
"""Side of the pieces of photographs."""
TRIED: Final = (16, 24, 32, 40, 48, 56, 64, 80)
"""Thresholds, in bits, beside the default."""
NEW_SENTENCE: Final = b"This sentence stands in the place of another one."

Edit = Callable[[bytes, random.Random], bytes]


def one_sentence(content: bytes, chance: random.Random) -> bytes:
    """Another sentence in the place of one that is no longer than a fifth of the text; at the end where none is."""
    sentences = re.split(rb"(?<=[.:])\s", content)
    short = [at for at, sentence in enumerate(sentences) if len(sentence) * 5 <= len(content)]
    at = chance.choice(short) if short else len(sentences)
    sentences[at : at + 1] = [NEW_SENTENCE]
    return b" ".join(sentences)


def cropped(content: bytes, chance: random.Random) -> bytes:
    """Without up to a tenth, at the beginning and at the end."""
    cut = chance.randint(1, max(1, len(content) // 20))
    return content[cut:-cut]


TEXT_EDITS: Final[dict[str, Edit]] = {
    "case": lambda content, _: content.upper(),
    "white_space": lambda content, _: content.replace(b" ", b"  ").replace(b"\n", b"\r\n"),
    "cropped": cropped,
    "one_sentence": one_sentence,
}
PICTURE_EDITS: Final[dict[str, Edit]] = {
    "cropped": cropped,
    "comment": lambda content, chance: content + chance.randbytes(40),
}


def texts() -> list[bytes]:
    """The documentation pages of Python."""
    pages = [text.encode() for _, text in sorted(topics.topics.items())]
    return sorted({page for page in pages if len(page) >= near_duplicate_bytes_min})


def pictures() -> list[bytes]:
    """Handwritten digits, enlarged, and pieces of photographs, as PNG, JPEG and uncompressed files."""
    images = [
        Image.fromarray((digit * 15).astype("uint8")).resize((128, 128), Image.Resampling.BICUBIC)
        for digit in load_digits().images[:PICTURES]
    ]
    for photograph in load_sample_images().images:
        height, width = photograph.shape[:2]
        images += [
            Image.fromarray(photograph[top : top + PATCH, left : left + PATCH])
            for top in range(0, height - PATCH, 2 * PATCH)
            for left in range(0, width - PATCH, 2 * PATCH)
        ]
    found = []
    for number, image in enumerate(images):
        out = io.BytesIO()
        image.save(out, ("PNG", "JPEG", "BMP")[number % 3])
        found.append(out.getvalue())
    return found


def runs(content: bytes) -> set[bytes]:
    """Its runs of five bytes, case and layout apart; shares no code with the fingerprint."""
    folded = re.sub(rb"[\t\n\v\f\r ]+", b" ", content.lower())
    return {folded[at : at + 5] for at in range(len(folded) - 4)}


def sketch(of: set[bytes]) -> MinHash:
    """MinHash of a set, its members in order, so that the same set always gives the same."""
    found = MinHash(num_perm=PERMUTATIONS, seed=1)
    found.update_batch(sorted(of))
    return found


def jaccard(one: set[bytes], two: set[bytes]) -> float:
    return len(one & two) / max(1, len(one | two))


def pairs(originals: list[bytes], edits: dict[str, Edit]) -> Iterator[tuple[str, bytes, bytes]]:
    """Each original with its edited copies, and with every other original."""
    chance = random.Random(11)
    for name, edit in edits.items():
        for content in originals:
            yield name, content, edit(content, chance)
    for one, two in combinations(originals, 2):
        yield "strangers", one, two


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contents: what was done, how much they share by their sets and by MinHash, and in how many bits they differ."""

    edit: str
    exact: float
    estimated: float
    bits: int


def compared() -> list[Pair]:
    """Every pair of the corpus."""
    marks: dict[bytes, tuple[bytes, set[bytes], MinHash]] = {}

    def mark(content: bytes) -> tuple[bytes, set[bytes], MinHash]:
        if content not in marks:
            found = runs(content)
            marks[content] = fingerprint(content), found, sketch(found)
        return marks[content]

    pairs_found = []
    for kind, originals, edits in (("text", texts(), TEXT_EDITS), ("picture", pictures(), PICTURE_EDITS)):
        for name, one, two in pairs(originals, edits):
            (a, a_runs, a_hash), (b, b_runs, b_hash) = mark(one), mark(two)
            shared = jaccard(a_runs, b_runs)
            pairs_found.append(Pair(f"{kind}_{name}", shared, a_hash.jaccard(b_hash), distance(a, b)))
    return pairs_found


def measure() -> dict[str, float]:
    """Precision and recall at the default, the share of each edit that is found, and the same pairs at other thresholds."""
    found = compared()
    default = DEFAULTS.near_duplicate_bits
    for bits in sorted({*TRIED, default}):
        by_sets, by_minhash = quality(found, bits, exact=True), quality(found, bits, exact=False)
        print(
            f"{bits:3} bits: precision {by_sets[0]:.4f}, recall {by_sets[1]:.4f};"
            f" by MinHash {by_minhash[0]:.4f}, {by_minhash[1]:.4f}"
        )
    for name in dict.fromkeys(pair.edit for pair in found):
        own = [pair for pair in found if pair.edit == name]
        shares, bits_of = [pair.exact for pair in own], [pair.bits for pair in own]
        print(
            f"{name}: {len(own)} pairs, {sum(bits <= default for bits in bits_of)} found,"
            f" Jaccard {min(shares):.2f} to {max(shares):.2f}, bits {min(bits_of)} to {max(bits_of)}"
        )
    off = max(abs(pair.exact - pair.estimated) for pair in found)
    print(f"MinHash is off by {off:.3f} at most, of {len(found)} pairs")
    precision, recall = quality(found, default, exact=True)
    minhash_precision, minhash_recall = quality(found, default, exact=False)
    return {
        "near_duplicates_precision": precision,
        "near_duplicates_recall": recall,
        "near_duplicates_minhash_precision": minhash_precision,
        "near_duplicates_minhash_recall": minhash_recall,
    }


def quality(found: list[Pair], bits_max: int, *, exact: bool) -> tuple[float, float]:
    """Precision and recall of a threshold, over all pairs, against one of the two truths."""
    alike = [(pair.exact if exact else pair.estimated) >= JACCARD_MIN for pair in found]
    told = [pair.bits <= bits_max for pair in found]
    right = sum(one and two for one, two in zip(alike, told, strict=True))
    return right / max(1, sum(told)), right / max(1, sum(alike))


if __name__ == "__main__":
    print(json.dumps(measure()))
