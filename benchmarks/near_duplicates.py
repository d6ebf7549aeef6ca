"""How well fingerprints find near duplicates: precision and recall on real texts and pictures with planted edits.

The truth is exact: two contents are near duplicates where their sets of five-byte runs, folded as a fingerprint folds them and
compared plainly, overlap by at least half (Jaccard). What was found is a pair whose fingerprints are within the parameter.
"""

import io
import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import combinations
from pydoc_data import topics
from typing import Final

from PIL import Image
from sklearn.datasets import load_digits

from consensus.work.fingerprint import distance, fingerprint
from omnitensor.protocol.limits import near_duplicate_bytes_min
from omnitensor.protocol.params import DEFAULTS

JACCARD_MIN: Final = 0.5
PICTURES: Final = 40
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
    """Handwritten digits, enlarged, as PNG, JPEG and uncompressed files."""
    found = []
    for number, digit in enumerate(load_digits().images[:PICTURES]):
        image = Image.fromarray((digit * 15).astype("uint8")).resize((128, 128), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        image.save(out, ("PNG", "JPEG", "BMP")[number % 3])
        found.append(out.getvalue())
    return found


def runs(content: bytes) -> set[bytes]:
    """Its runs of five bytes, case and layout apart; shares no code with the fingerprint."""
    folded = re.sub(rb"[\t\n\v\f\r ]+", b" ", content.lower())
    return {folded[at : at + 5] for at in range(len(folded) - 4)}


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


def measure() -> dict[str, float]:
    """Precision and recall at the default, the share of each edit that is found, and the same pairs at other thresholds."""
    marks: dict[bytes, bytes] = {}
    sets: dict[bytes, set[bytes]] = {}
    found: list[tuple[str, float, int]] = []
    for originals, edits in ((texts(), TEXT_EDITS), (pictures(), PICTURE_EDITS)):
        kind = "text" if edits is TEXT_EDITS else "picture"
        for name, one, two in pairs(originals, edits):
            for content in (one, two):
                if content not in marks:
                    marks[content], sets[content] = fingerprint(content), runs(content)
            found.append((f"{kind}_{name}", jaccard(sets[one], sets[two]), distance(marks[one], marks[two])))
    default = DEFAULTS.near_duplicate_bits
    for bits in sorted({*TRIED, default}):
        precision, recall = quality(found, bits)
        print(f"{bits:3} bits: precision {precision:.4f}, recall {recall:.4f}")
    for name in dict.fromkeys(name for name, _, _ in found):
        own = [(share, bits) for of, share, bits in found if of == name]
        near = sum(bits <= default for _, bits in own)
        print(
            f"{name}: {len(own)} pairs, {near} found, Jaccard {min(own)[0]:.2f} to {max(own)[0]:.2f},"
            f" bits {min(bits for _, bits in own)} to {max(bits for _, bits in own)}"
        )
    precision, recall = quality(found, default)
    return {"near_duplicates_precision": precision, "near_duplicates_recall": recall}


def quality(found: list[tuple[str, float, int]], bits_max: int) -> tuple[float, float]:
    """Precision and recall of a threshold, over all pairs."""
    right = sum(share >= JACCARD_MIN and bits <= bits_max for _, share, bits in found)
    told = sum(bits <= bits_max for _, _, bits in found)
    true = sum(share >= JACCARD_MIN for _, share, _ in found)
    return right / max(1, told), right / max(1, true)


if __name__ == "__main__":
    print(json.dumps(measure()))
