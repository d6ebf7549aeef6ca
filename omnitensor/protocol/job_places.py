"""What a place among the open jobs costs: the same for the ledger that takes it and for whoever asks before posting. Pure."""

from omnitensor.protocol import limits
from omnitensor.protocol.params import Params


def place_price(taken: int, params: Params) -> int:
    """nanoOMNIT a block for the next place, where so many are taken: nothing while there are free ones, then more with each."""
    return max(0, taken + 1 - limits.jobs_places_free) * params.work_place_price


def place_blocks(blocks: int, params: Params) -> int:
    """For how long at most a job holds its place whose deadline is so many blocks ahead.

    A receipt of its last block shows its outputs, is judged, can be objected to for an epoch, and is judged anew.
    """
    rest = params.work_outputs_blocks + 2 * params.work_judge_blocks + params.epoch_blocks + 1
    return blocks + rest


def place_charge(taken: int, blocks: int, params: Params) -> int:
    """nanoOMNIT that burn for a job's place, whatever becomes of the job."""
    return place_price(taken, params) * place_blocks(blocks, params)
