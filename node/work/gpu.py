"""Proving on a GPU by PyTorch: the same products, sums and words to the bit, or none. Loaded in a worker's own process only.

float32 products of small integers are exact in whatever order a GPU adds them, as long as it multiplies in float32 and not in one
of the shorter formats that it may use in its place. That is switched off, and known answers are asked before a device is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from consensus.work.exact import SUM_MAX, Floats, WideFloats
from consensus.work.noise import NoisyLayer, unit_left
from consensus.work.prover import Prover, noisy_product
from consensus.work.tickets import Words
from omnitensor.protocol.types import Hash

BLOCK_ROWS: Final = 4_096
"""Rows multiplied at once: what is held on the device stays below half a GiB at the widest layer."""


def _torch() -> Any:
    """PyTorch, set to multiply exactly. Raises ImportError."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    return torch


@cache
def usable_device() -> str | None:
    """The name of a GPU that PyTorch sees and that gives known answers to the bit; None where there is none."""
    try:
        torch = _torch()
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0)) if gives_known_answers("cuda") else None


def gives_known_answers(device: str) -> bool:
    """Whether a device's noisy products are those of numpy, words and sums alike, on operands of every size."""
    drawn = np.random.default_rng(7)
    for k, n, m, tile in (
        (128, 128, 128, 128),
        (1_024, 256, 192, 64),
        (2_048, 512, 256, 128),
        (16, 16, 16, 16),
    ):
        for largest in (False, True):
            weights = drawn.integers(-127, 128, (k, n)).astype(np.float32)
            turned = drawn.integers(-63, 64, (k, m)).astype(np.float32)
            if largest:
                weights, turned = np.sign(weights) * np.float32(127), np.sign(turned) * np.float32(63)
            noisy = _any_noise(weights, tile, drawn)
            wanted = noisy_product(turned, noisy, Hash(bytes(32)))
            given = product_on(device, turned, noisy, Hash(bytes(32)))
            if not all(np.array_equal(one, two) for one, two in zip(wanted, given, strict=True)):
                return False
    return True


def _any_noise(weights: Floats, tile: int, drawn: np.random.Generator) -> NoisyLayer:
    """A layer as ``noisy_layer`` makes one, as far as multiplying goes, of any weights."""
    k, n = weights.shape
    pieces = k // tile
    return NoisyLayer(
        tile,
        Hash(bytes(32)),
        weights,
        drawn.integers(-64, 64, (2 * tile, n)).astype(np.float32),
        np.concatenate([drawn.permutation(tile) for _ in range(pieces)]),
        np.stack([drawn.permutation(tile) + piece * tile for piece in range(pieces)]),
        np.where(drawn.integers(0, 2, (pieces, tile)) > 0, np.float32(1), np.float32(-1)),
    )


class GpuProver(Prover):
    """Runs units on the first GPU."""

    device = usable_device() or "no GPU"

    @staticmethod
    def _product(turned: Floats, noisy: NoisyLayer, seed: Hash) -> tuple[WideFloats, Words]:
        return product_on("cuda", turned, noisy, seed)


def product_on(device: str, turned: Floats, noisy: NoisyLayer, seed: Hash) -> tuple[WideFloats, Words]:
    """As ``noisy_product``, on a device of PyTorch (``cuda``, ``cpu``)."""
    torch = _torch()
    t, k, n, m = noisy.tile, noisy.k, noisy.n, turned.shape[1]
    weights, peel = _on_device(device, noisy)
    noise = torch.from_numpy(np.concatenate([unit_left(seed, row, t) for row in range(m // t)])).to(device)
    both = torch.cat([noise, -noise], dim=1)
    order = torch.from_numpy(noisy.left_order).to(device)
    places = torch.from_numpy(noisy.right_places).to(device)
    signs = torch.from_numpy(noisy.right_signs).to(device)
    exact = torch.float32 if k <= SUM_MAX else torch.float64
    words = np.empty((k // t, m // t, n), np.uint32)
    sums: WideFloats = np.empty((m, n), np.float32) if k <= SUM_MAX else np.empty((m, n), np.float64)
    for start in range(0, m, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, m)
        rows = torch.from_numpy(np.ascontiguousarray(turned[:, start:stop].T)).to(device)
        left = both[start:stop]
        total = torch.zeros((stop - start, n), dtype=exact, device=device)
        gathered = torch.zeros((stop - start, t), dtype=torch.float32, device=device)
        for piece in range(k // t):
            part = slice(piece * t, piece * t + t)
            square = (rows[:, part] + left[:, order[part]]) @ weights[part]
            square += 0.0  # a zero is positive, or its bits are another word's
            words[piece, start // t : stop // t] = _folded(torch, square, t)
            total += square
            gathered += rows[:, places[piece]] * signs[piece]
        factor = torch.cat([gathered, left[:, :t]], dim=1).to(exact)
        total -= factor @ peel.to(exact)
        sums[start:stop] = total.cpu().numpy()
    return sums, words


def _folded(torch: Any, square: Any, tile: int) -> Words:
    """Each square's columns to one word, by halves: a tile is a power of two. (row tiles, n)."""
    bits = square.view(torch.int32).reshape(-1, tile, square.shape[1])
    while bits.shape[1] > 1:
        half = bits.shape[1] // 2
        bits = bits[:, :half] ^ bits[:, half:]
    folded: Words = bits[:, 0].cpu().numpy().view(np.uint32)
    return folded


_HELD: dict[tuple[int, str], tuple[NoisyLayer, Any, Any]] = {}
_HELD_MAX: Final = 8


def _on_device(device: str, noisy: NoisyLayer) -> tuple[Any, Any]:
    """A layer's weights and peel, copied once. The layer is held as well, or another could come to have its identity."""
    key = (id(noisy), device)
    if key not in _HELD:
        torch = _torch()
        while len(_HELD) >= _HELD_MAX:
            del _HELD[next(iter(_HELD))]
        _HELD[key] = (
            noisy,
            torch.from_numpy(noisy.weights).to(device),
            torch.from_numpy(noisy.peel).to(device),
        )
    return _HELD[key][1:]
