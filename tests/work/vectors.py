"""Test vectors of the exact programs, written by the plain oracle: ``python -m tests.work.vectors`` writes them into docs/.

Imports nothing of the project but the oracle, so that what the vectors say is what the specification says.
"""

from __future__ import annotations

import json
import random
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.work.plain_work import (
    Matrix,
    PlainLayer,
    content_operands,
    fingerprint_bits,
    fingerprint_layer,
    model_file,
    model_root,
    packed,
)

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "specification" / "vectors"
MODELS = FOLDER / "mlp-int7-v1.json"
FINGERPRINTS = FOLDER / "fingerprint-v1.json"


def signed(rows: Matrix) -> str:
    return bytes(value & 255 for row in rows for value in row).hex()


def uniform(chance: random.Random, rows: int, columns: int) -> Matrix:
    return [[chance.randint(-63, 63) for _ in range(columns)] for _ in range(rows)]


def case(name: str, layers: list[PlainLayer], tile: int, rows: Matrix) -> dict[str, Any]:
    file, outputs = model_file(layers, tile), rows
    for layer in layers:
        outputs = layer.run(outputs)
    return {
        "name": name,
        "file": file.hex(),
        "root": model_root(file).hex(),
        "rows": signed(rows),
        "outputs": signed(outputs),
    }


def models() -> list[dict[str, Any]]:
    chance = random.Random(7)
    found = [
        case("each number times 1, 63 and -63", [PlainLayer([[1, 63, -63]], False, 1)], 16, [[n] for n in range(-63, 64)]),
        case("the same with ReLU", [PlainLayer([[1, 63, -63]], True, 6)], 32, [[n] for n in range(-63, 64)]),
        case("the largest shift", [PlainLayer([[63], [63]], False, 24)], 128, [[63, 63], [-63, -63], [0, 0]]),
        case("the largest sums", [PlainLayer([[63, -63]] * 1100, False, 17)], 64, [[63] * 1100, [-63] * 1100]),
        case("a bias on constants 63, 63, 1", [PlainLayer([[5, -9], [60, -63], [60, -62], [-7, 31]], False, 7)], 16,
             [[n, 63, 63, 1] for n in (-63, -1, 0, 1, 63)]),
    ]  # fmt: skip
    for widths, tile in (
        ((5, 3), 16),
        ((17, 33, 8), 16),
        ((40, 20, 10, 5), 32),
        ((2, 2, 2, 2, 2, 2, 2, 2, 2), 128),
    ):
        layers = [
            PlainLayer(uniform(chance, one, two), number % 2 == 0, chance.randint(5, 9))
            for number, (one, two) in enumerate(pairwise(widths))
        ]
        found.append(
            case(f"random, {'-'.join(map(str, widths))}", layers, tile, uniform(chance, 6, widths[0]))
        )
    return found


def refused() -> list[dict[str, str]]:
    def file(
        tile: int = 16, version: int = 1, inputs: int = 2, shift: int = 8, weights: bytes = b"\1\2"
    ) -> bytes:
        return packed([version, tile, [[inputs, 1, 0, shift, weights]]])

    good = file()
    cases = {
        "a weight of 64": file(weights=b"\1\x40"),
        "a weight of -64": file(weights=b"\xc0\1"),
        "a weight too many": file(weights=b"\1\2\3"),
        "a tile of 48": file(tile=48),
        "version 2": file(version=2),
        "a shift of 0": file(shift=0),
        "a shift of 25": file(shift=25),
        "no layer": packed([1, 16, []]),
        "nine layers": packed([1, 16, [[1, 1, 0, 8, b"\1"]] * 9]),
        "layers that don't fit": packed([1, 16, [[2, 1, 0, 8, b"\1\2"], [2, 1, 0, 8, b"\1\2"]]]),
        "a byte behind the file": good + b"\0",
        "a byte missing": good[:-1],
        "a number in more bytes than it needs": good.replace(b"\x93\1\x10", b"\x93\1\xcc\x10"),
        "4097 inputs": file(inputs=4097, weights=bytes(4097)),
    }
    return [{"name": name, "file": data.hex()} for name, data in cases.items()]


def encodings() -> list[dict[str, Any]]:
    """Features as operands: each step rounded to binary64, by fractions."""
    found = []
    for offset, scale in ((0.0, 1.0), (2.5, 0.1), (-1e-3, 1e4), (1 / 3, 63 / 7), (1e300, 1e10), (5.0, 0.0)):
        for x in (0.0, 2.5, -2.5, 1 / 3, 7.25, -63.5, 62.5, 1e300, 5e-324, 0.49999999999999994, -0.5, 0.5):
            moved = float(Fraction(x) - Fraction(offset))
            scaled = Fraction(moved) * Fraction(scale)
            if abs(scaled) >= 63:
                operand = 63 if scaled > 0 else -63
            else:
                operand = (Fraction(float(Fraction(float(scaled)) + Fraction(1, 2)))).__floor__()
            found.append({"x": x, "offset": offset, "scale": scale, "operand": operand})
    return found


def contents() -> dict[str, bytes]:
    return {
        "nothing": b"",
        "four bytes": b"abcd",
        "five bytes": b"abcde",
        "a sentence": b"The quick brown fox jumps over the lazy dog.",
        "the same in capitals and other white space": b"THE  QUICK\tBROWN\r\nFOX JUMPS OVER\vTHE LAZY\fDOG.",
        "letters that are not ASCII": "Ærø, ÆRØ, naïve, 東京, ΑΒΓ — αβγ".encode(),
        "every byte": bytes(range(256)) * 3,
        "one byte many times": b"z" * 5000,
        "random bytes": random.Random(3).randbytes(3000),
        "what is behind 4 MiB": b"abcdef" + b" " * (4 << 20) + b"is not looked at",
    }


def fingerprints() -> list[dict[str, str]]:
    layer, found = fingerprint_layer(), []
    for name, content in contents().items():
        operands = content_operands(content)
        (outputs,) = layer.run([operands])
        shown = (
            {"content": content.hex()}
            if len(content) < 10_000
            else {"begins": "616263646566", "spaces": str(4 << 20), "ends": content[-16:].hex()}
        )
        found.append(
            {"name": name, **shown, "operands": signed([operands]), "outputs": signed([outputs]),
             "fingerprint": fingerprint_bits(outputs).hex()}
        )  # fmt: skip
    return found


def written() -> dict[Path, str]:
    """The files, as the oracle makes them."""
    said = "Written by tests/work/vectors.py from docs/specification/work.md; bytes in hex, operands a signed byte each."
    return {
        MODELS: json.dumps(
            {"about": said, "programs": models(), "refused": refused(), "encodings": encodings()}, indent=1
        )
        + "\n",
        FINGERPRINTS: json.dumps({"about": said, "contents": fingerprints()}, indent=1) + "\n",
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
