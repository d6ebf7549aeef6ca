"""Hostile validators, one small file each. They hold their own key and nothing else of anybody's."""

from tests.simulation.adversaries.block_twister import BlockTwister
from tests.simulation.adversaries.double_voter import DoubleVoter
from tests.simulation.adversaries.equivocating_leader import EquivocatingLeader
from tests.simulation.adversaries.forking_leader import ForkingLeader
from tests.simulation.adversaries.garbage import Garbage
from tests.simulation.adversaries.poisoning_leader import PoisoningLeader
from tests.simulation.adversaries.selective_sender import SelectiveSender
from tests.simulation.adversaries.silent import Silent

ADVERSARY_CLASSES = {
    kind.byzantine: kind
    for kind in (
        BlockTwister,
        DoubleVoter,
        EquivocatingLeader,
        ForkingLeader,
        Garbage,
        PoisoningLeader,
        SelectiveSender,
        Silent,
    )
}
