"""The work proof once more, slowly, in plain Python integers: programs, fingerprints, every square's value. An oracle.

Written from docs/specification/work.md. Imports nothing of the project: hashes, noise, folding and prefilter are made here anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b, sha256, shake_128
from math import isqrt

Matrix = list[list[int]]
MASK = (1 << 64) - 1


def tagged(name: str, *parts: bytes) -> bytes:
    tag = sha256(f"omnitensor/{name}/1".encode()).digest()
    return sha256(tag + tag + b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def big(value: int) -> bytes:
    return value.to_bytes(8, "big")


def product(one: Matrix, two: Matrix) -> Matrix:
    columns = list(zip(*two, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in one]


def requantised(value: int, shift: int, relu: bool) -> int:
    if relu and value < 0:
        value = 0
    return max(-63, min(63, (value + 2 ** (shift - 1)) // 2**shift))


@dataclass
class PlainLayer:
    weights: Matrix
    relu: bool
    shift: int

    def run(self, rows: Matrix) -> Matrix:
        sums = product(rows, self.weights)
        return [[requantised(value, self.shift, self.relu) for value in row] for row in sums]


def padded(matrix: Matrix, height: int, width: int) -> Matrix:
    filled = [row + [0] * (width - len(row)) for row in matrix]
    return filled + [[0] * width for _ in range(height - len(matrix))]


def up(size: int, tile: int) -> int:
    return (size + tile - 1) // tile * tile


def uniform(seed: bytes, kind: bytes, index: int, tile: int) -> Matrix:
    stream = shake_128(seed + kind + index.to_bytes(4, "big")).digest(tile * tile)
    return [[stream[r * tile + c] % 128 - 64 for c in range(tile)] for r in range(tile)]


def permutation(seed: bytes, kind: bytes, index: int, tile: int) -> list[tuple[int, int]]:
    """(place, sign) of each column (or row, for F_L)."""
    raw = struct.unpack(f"<{tile}Q", shake_128(seed + kind + index.to_bytes(4, "big")).digest(8 * tile))
    places = sorted(range(tile), key=lambda i: raw[i] >> 1)
    return [(places[u], -1 if raw[u] & 1 else 1) for u in range(tile)]


def noisy_square(
    rows: Matrix, weights: Matrix, seed: bytes, model: bytes, place: tuple[int, int, int], tile: int
) -> tuple[Matrix, Matrix]:
    """Squares of A' and B' for (row tile, column tile, piece); ``rows`` and ``weights`` are padded."""
    i, j, c = place
    left = [row[c * tile : c * tile + tile] for row in rows[i * tile : i * tile + tile]]
    right = [row[j * tile : j * tile + tile] for row in weights[c * tile : c * tile + tile]]
    e_left, e_right = uniform(seed, b"EL", i, tile), permutation(model, b"ER", c, tile)
    f_left, f_right = permutation(model, b"FL", c, tile), uniform(model, b"FR", j, tile)
    one = [[left[r][u] + e_left[r][e_right[u][0]] * e_right[u][1] for u in range(tile)] for r in range(tile)]
    two = [[right[u][v] + f_right[f_left[u][0]][v] * f_left[u][1] for v in range(tile)] for u in range(tile)]
    return one, two


def folded(square: Matrix) -> list[int]:
    words = [0] * len(square[0])
    for row in square:
        for at, value in enumerate(row):
            words[at] ^= struct.unpack("<I", struct.pack("<f", value))[0]
    return words


def passes(words: list[int], key: bytes, bits: int) -> bool:
    factors = struct.unpack(f"<{len(words)}Q", shake_128(key).digest(8 * len(words)))
    mixed = sum(word * (factor | 1) for word, factor in zip(words, factors, strict=True)) & MASK
    mixed ^= mixed >> 29
    return (mixed * 0xBF58476D1CE4E5B9 & MASK) >> (64 - bits) == 0 if bits else True


def squares_that_win(
    layers: list[PlainLayer],
    model_root: bytes,
    beacon: bytes,
    anchor: bytes,
    worker: bytes,
    job: bytes,
    unit: int,
    rows: Matrix,
    tile: int,
    bits: int,
) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(value, (layer, row, column, piece)) of every square of a unit that wins, the least value first."""
    found = []
    first = min(bits, 6)
    for number, layer in enumerate(layers):
        m, k, n = up(len(rows), tile), up(len(rows[0]), tile), up(len(layer.weights[0]), tile)
        model = tagged("work-model", beacon, model_root, big(number), big(k), big(n), big(tile))
        seed = tagged(
            "work-unit", anchor, worker, job, big(unit), big(number), big(m), big(k), big(n), big(tile), model
        )
        key = tagged("work-ticket", seed)
        full, weights = padded(rows, m, k), padded(layer.weights, k, n)
        for i in range(m // tile):
            for j in range(n // tile):
                for c in range(k // tile):
                    words = folded(product(*noisy_square(full, weights, seed, model, (i, j, c), tile)))
                    if not passes(words, key, first):
                        continue
                    place = b"".join(part.to_bytes(4, "big") for part in (number, i, j, c))
                    message = place + struct.pack(f"<{tile}I", *words)
                    value = int.from_bytes(blake2b(message, digest_size=32, key=key).digest(), "big")
                    if value < 1 << (256 - (bits - first)):
                        found.append((value, (number, i, j, c)))
        rows = layer.run(rows)
    return sorted(found)


# -- files of models


def packed(value: int | bytes | list) -> bytes:  # type: ignore[type-arg]  # nested lists have no short type
    """msgpack, as far as models need it: small numbers, bytes, arrays."""
    if isinstance(value, list):
        assert len(value) < 16
        return bytes([0x90 | len(value)]) + b"".join(packed(part) for part in value)
    if isinstance(value, bytes):
        for code, width in ((0xC4, 1), (0xC5, 2), (0xC6, 4)):
            if len(value) < 1 << 8 * width:
                return bytes([code]) + len(value).to_bytes(width, "big") + value
        raise AssertionError("bytes are not so long here")
    if value < 128:
        return bytes([value])
    return bytes([0xCC, value]) if value < 256 else b"\xcd" + value.to_bytes(2, "big")


def model_file(layers: list[PlainLayer], tile: int) -> bytes:
    records: list[object] = []
    for layer in layers:
        weights = bytes(weight & 255 for row in layer.weights for weight in row)
        records.append([len(layer.weights), len(layer.weights[0]), int(layer.relu), layer.shift, weights])
    return packed([1, tile, records])


def model_root(file: bytes) -> bytes:
    return tagged("model", file)


# -- fingerprints


def content_operands(content: bytes) -> list[int]:
    out = bytearray()
    for byte in content[: 4 << 20].lower():
        if byte in b" \t\n\v\f\r":
            if out[-1:] != b" ":
                out.append(32)
        else:
            out.append(byte)
    runs = len(out) - 4
    if runs < 1:
        return [0] * 1024
    counts = [0] * 1024
    for at in range(runs):
        value = 0
        for byte in out[at : at + 5]:
            value = (value * 0x9E3779B97F4A7C15 + byte + 1) & MASK
        value ^= value >> 32
        counts[(value * 0xBF58476D1CE4E5B9 & MASK) >> 54] += 1
    return [max(-63, min(63, (count * 1024 - runs) * 16 // (32 * max(1, isqrt(runs))))) for count in counts]


def fingerprint_layer() -> PlainLayer:
    stream = shake_128(b"omnitensor/fingerprint/1").digest(1024 * 256 // 8)
    signs = [1 if stream[bit // 8] >> (bit % 8) & 1 else -1 for bit in range(1024 * 256)]
    return PlainLayer([signs[at : at + 256] for at in range(0, len(signs), 256)], False, 3)


def fingerprint_bits(outputs: list[int]) -> bytes:
    return bytes(sum((outputs[at * 8 + bit] > 0) << bit for bit in range(8)) for at in range(32))
