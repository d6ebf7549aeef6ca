"""Whether a snapshot's header is final: by the steps of light clients from genesis, or from a checkpoint that is trusted.

The node's one place that knows the light client. Reads no file and asks nobody: steps are given to it.
"""

from collections.abc import Iterable, Iterator

from omnitensor import light
from omnitensor.light import Checkpoint as Checkpoint
from omnitensor.light import ProofError, TrustedPoint
from omnitensor.light import TrustError as TrustError
from omnitensor.protocol.epochs import boundary_of
from omnitensor.protocol.types import Epoch, Height
from omnitensor.protocol.votes import ValidatorEntry, ValidatorTable, ValidatorTableError
from state.genesis import Genesis
from state.records import StepRow
from state.snapshots.manifest import Manifest, SnapshotError


class UntrustedError(SnapshotError):
    """A snapshot that may well be true, and is not shown to be by what this node trusts. No peer's fault."""

    code = "snapshot_untrusted"


class Follower:
    """Follows a snapshot's steps in order, one after the other, from what is trusted to the snapshot's own boundary."""

    def __init__(self, genesis: Genesis, checkpoint: Checkpoint | None, now_ms: int) -> None:
        """Without a checkpoint genesis is trusted, which only a young chain's can be."""
        self._genesis = genesis
        self._checkpoint = checkpoint
        self._now_ms = now_ms
        self._period_ms = light.trust_period_ms(genesis.params)
        self._point: TrustedPoint | None = None
        self._voters: tuple[ValidatorEntry, ...] | None = None
        """Of the epoch that the next step is over, as the steps tell."""
        self.first: Epoch | None = None
        """The first epoch whose step is believed."""
        self._first_voters: tuple[ValidatorEntry, ...] = ()
        self._table: ValidatorTable | None = None
        """Voters of the last step's own epoch, where they are believed."""
        if checkpoint is None or checkpoint.height == 0:
            own = Checkpoint(Height(0), genesis.hash)
            self._point = light.begin(
                genesis.block.header, genesis.table, checkpoint or own, genesis.chain_id
            )
            self._voters = genesis.table.entries

    def take(self, step: StepRow) -> None:
        """The next step. Raises ProofError or TrustError where it does not follow; the follower is of no use then.

        Below the checkpoint nothing shows whether a step is true, so there are none of those above it: UntrustedError.
        """
        epoch, before = step.header.epoch, self._voters
        if before is None and epoch == 0:
            before = (
                self._genesis.table.entries
            )  # checked like all others against what the trusted header names
        voters = before if step.voters is None else step.voters
        if voters is None:
            raise SnapshotError("the first step does not say who votes next", value=epoch)
        self._voters = voters
        if self._point is not None:
            following = light.advance(
                self._point,
                light.Step(step.header, step.proof, step.voters),
                now_ms=self._now_ms,
                period_ms=self._period_ms,
            )
            self._believe(step, self._point.table, following)
        elif self._checkpoint is not None and step.header.hash == self._checkpoint.block_hash:
            table = ValidatorTable(Epoch(epoch + 1), voters)
            point = light.begin(step.header, table, self._checkpoint, self._genesis.chain_id)
            own = None if before is None else ValidatorTable(Epoch(epoch), before)
            self._believe(step, own, point)
        elif self._checkpoint is not None and self._checkpoint.height <= boundary_of(
            Epoch(epoch), self._genesis.params
        ):
            raise self._passed_by(boundary_of(Epoch(epoch), self._genesis.params))

    def _believe(self, step: StepRow, own: ValidatorTable | None, following: TrustedPoint) -> None:
        if self.first is None:
            self.first = Epoch(step.header.epoch)
            self._first_voters = following.table.entries
        self._point, self._table = following, own

    def _passed_by(self, height: int) -> UntrustedError:
        """For steps that went on beyond the checkpoint and were none of them its own."""
        assert self._checkpoint is not None, "genesis is trusted without one"
        return UntrustedError(
            "the checkpoint is of no boundary below the snapshot, or of another chain",
            value=self._checkpoint,
            remedy="give the height and hash of an epoch's last block, at or below the snapshot "
            f"({height}), from somebody whom you trust",
        )

    def check(self, manifest: Manifest) -> None:
        """After the last step: that the snapshot's header is final, and its proof true. Raises SnapshotError or ProofError."""
        if self._point is None:
            raise self._passed_by(manifest.height)
        if self.first is None or self._point.header != manifest.header:
            raise SnapshotError(
                "the snapshot's header is not the one that its steps lead to", value=manifest.header.hash
            )
        if self._table is None:
            raise UntrustedError(
                "the snapshot does not hold who made its block final",
                value=manifest.height,
                remedy="take a later one, or one from another node",
            )
        light.check_finality(manifest.header, manifest.proof, self._table)

    def kept(self, steps: Iterable[StepRow]) -> Iterator[StepRow]:
        """Those of the same steps that are believed, the first with its voters."""
        for step in steps:
            if self.first is not None and step.header.epoch == self.first:
                yield StepRow(step.header, step.proof, self._first_voters)
            elif self.first is not None and step.header.epoch > self.first:
                yield step


def follow(
    manifest: Manifest,
    steps: Iterable[StepRow],
    genesis: Genesis,
    checkpoint: Checkpoint | None,
    now_ms: int,
) -> Follower:
    """Follows all steps and checks the snapshot's header. Raises SnapshotError, which says what to do."""
    if manifest.genesis_hash != genesis.hash:
        raise SnapshotError(
            "the snapshot is of another chain",
            value=manifest.genesis_hash,
            remedy=f"this node's genesis is {genesis.hash.hex()}",
        )
    try:
        follower = Follower(genesis, checkpoint, now_ms)
        for step in steps:
            follower.take(step)
        follower.check(manifest)
    except TrustError as error:
        raise too_old(error) from error
    except (ProofError, ValidatorTableError) as error:
        raise SnapshotError(
            f"the snapshot's steps do not hold: {error.reason}",
            value=error.value,
            remedy="take the snapshot from somebody else",
        ) from error
    return follower


def too_old(error: TrustError) -> UntrustedError:
    """What an operator can do where steps from what is trusted show nothing any more."""
    return UntrustedError(
        f"the snapshot can't be believed by itself: {error.reason}",
        value=error.value,
        remedy="give --checkpoint HEIGHT:HASH (or sync.checkpoint) of an epoch's last block, from somebody whom you trust",
    )


def parse_checkpoint(text: str) -> Checkpoint | None:
    """A checkpoint as it is written, height:hash; None for nothing. Raises ProtocolError."""
    return Checkpoint.parse(text) if text else None
