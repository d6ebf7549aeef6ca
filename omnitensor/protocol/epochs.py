"""Which block belongs to which epoch. Arithmetic alone.

Epoch ``e`` covers the heights above the boundary of epoch ``e - 1``, up to its own boundary at ``(e + 1) * epoch_blocks``.
Genesis is the boundary below epoch 0 and counts as of epoch 0.
"""

from omnitensor.protocol.params import Params
from omnitensor.protocol.types import Epoch, Height


def epoch_of(height: Height, params: Params) -> Epoch:
    """The epoch of the block at a height."""
    return Epoch(max(height - 1, 0) // params.epoch_blocks)


def boundary_of(epoch: Epoch, params: Params) -> Height:
    """Height of an epoch's last block."""
    return Height((epoch + 1) * params.epoch_blocks)


def is_boundary(height: Height, params: Params) -> bool:
    """Whether the block at a height is the last of its epoch."""
    return height > 0 and height % params.epoch_blocks == 0
