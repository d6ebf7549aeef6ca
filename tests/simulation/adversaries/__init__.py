"""Hostile validators, one small file each. They hold their own key and nothing else of anybody's."""

from tests.simulation.adversaries.amnesiac import Amnesiac
from tests.simulation.adversaries.attendance_forger import AttendanceForger
from tests.simulation.adversaries.block_twister import BlockTwister
from tests.simulation.adversaries.certificate_forger import CertificateForger
from tests.simulation.adversaries.certificate_splitter import CertificateSplitter
from tests.simulation.adversaries.clock_liar import ClockLiar
from tests.simulation.adversaries.conspirator import Conspirator
from tests.simulation.adversaries.double_voter import DoubleVoter
from tests.simulation.adversaries.equivocating_leader import EquivocatingLeader
from tests.simulation.adversaries.false_accuser import FalseAccuser
from tests.simulation.adversaries.forking_leader import ForkingLeader
from tests.simulation.adversaries.garbage import Garbage
from tests.simulation.adversaries.miscomputer import Miscomputer
from tests.simulation.adversaries.poisoning_leader import PoisoningLeader
from tests.simulation.adversaries.selective_sender import SelectiveSender
from tests.simulation.adversaries.silent import Silent
from tests.simulation.adversaries.skip_and_finalizer import SkipAndFinalizer
from tests.simulation.adversaries.snubbing_leader import SnubbingLeader
from tests.simulation.adversaries.stale_replayer import StaleReplayer
from tests.simulation.adversaries.sync_liar import SyncLiar
from tests.simulation.adversaries.twin import ShamelessTwin, Twin
from tests.simulation.adversaries.withholding_leader import WithholdingLeader
from tests.simulation.node import SimNode

KINDS: tuple[type[SimNode], ...] = (
    Amnesiac,
    AttendanceForger,
    BlockTwister,
    CertificateForger,
    CertificateSplitter,
    ClockLiar,
    Conspirator,
    DoubleVoter,
    EquivocatingLeader,
    FalseAccuser,
    ForkingLeader,
    Garbage,
    Miscomputer,
    PoisoningLeader,
    SelectiveSender,
    Silent,
    SkipAndFinalizer,
    SnubbingLeader,
    StaleReplayer,
    SyncLiar,
    ShamelessTwin,
    Twin,
    WithholdingLeader,
)
ADVERSARY_CLASSES: dict[str, type[SimNode]] = {kind.byzantine: kind for kind in KINDS}
