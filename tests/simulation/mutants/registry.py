"""Which faults are planted, where each shows, and the executions in which it is looked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from random import Random
from typing import Any

from consensus.schedule import leaders
from consensus.stake import effects, slots, tally
from omnitensor.protocol import ballots, evidence
from state import chain
from state.ledger import attendance, downtime, epochs, removal, slashing, transition
from state.ledger import evidence as ledger_evidence
from tests.simulation import syncing
from tests.simulation.mutants import counting, ledger, rules, store, workers
from tests.simulation.scenario import Scenario
from tests.simulation.world import Product, World


@dataclass(frozen=True)
class Mutant:
    """A planted fault, the adversary that it needs, in how many seeds it must be seen, and what its executions are like."""

    name: str
    product: Product
    adversary: str
    seeds_max: int
    size: int = 4
    weather: dict[str, Any] = field(default_factory=dict)
    """Fields of the scenario that are other than usual."""


@dataclass(frozen=True)
class Caught:
    """A planted fault was seen."""

    seeds: int
    """Executions until then."""
    seeds_max: int
    violation: str

    def __str__(self) -> str:
        return f"caught by seed {self.seeds} of {self.seeds_max}: {self.violation[:100]}"


def patched(*patches: tuple[Any, str, Any]) -> Product:
    return Product(patches=patches)


def signing(message: Any) -> Product:
    """Votes that sign something else."""
    return patched((ballots, "vote_message", message), (effects, "vote_message", message))


RULES = (
    Mutant(
        "no skip-certificate check",
        Product(core=rules.NoSkipCheckCore, verifier=counting.NoSkipCheckVerifier),
        "forking_leader",
        20,
    ),
    Mutant("finalize after skip", Product(core=rules.FinalizeAfterSkipCore), "selective_sender", 5),
    Mutant(
        "finalize after skip, and a store that lets it",
        Product(core=rules.FinalizeAfterSkipCore, store=store.CarelessStore),
        "selective_sender",
        5,
    ),
    Mutant("skip after finalize", Product(core=rules.SkipAfterFinalizeCore), "selective_sender", 5),
    Mutant(
        "notarizes twice",
        Product(core=rules.EagerCore, store=store.CarelessStore),
        "equivocating_leader",
        30,
    ),
    Mutant("blocks not executed", Product(core=rules.UnexecutedCore), "poisoning_leader", 5),
    Mutant("timestamps ahead of time", Product(core=rules.FutureCore), "clock_liar", 10),
    Mutant("timestamps before the pace", Product(core=rules.PastCore), "clock_liar", 10),
    Mutant("final by a notarization", Product(core=rules.HastyCore), "silent", 3),
    Mutant("no standstill", Product(core=rules.MuteCore), "silent", 20, weather={"loss": 0.25}),
    Mutant("no view timer", Product(core=rules.PatientCore), "silent", 3),
)
EPOCHS = (
    Mutant("an epoch without end", Product(core=rules.EndlessCore), "silent", 3, weather={"epoch_blocks": 4}),
    Mutant(
        "an epoch too long", Product(core=rules.LateBoundaryCore), "silent", 3, weather={"epoch_blocks": 4}
    ),
    Mutant(
        "a block's bytes decide whether it is a filler",
        Product(core=rules.PickyCore),
        "block_twister",
        20,
        weather={"epoch_blocks": 4},
    ),
    Mutant(
        "votes do not name their epoch",
        signing(counting.without_epoch),
        "stale_replayer",
        20,
        weather={"epoch_blocks": 4},
    ),
)
COUNTING = (
    Mutant("majority quorum", Product(table=counting.MajorityTable), "equivocating_leader", 5, size=5),
    Mutant(
        "heads in place of stake",
        Product(table=counting.HeadsTable, patches=((slots, "VoteBook", counting.HeadsBook),)),
        "silent",
        5,
        weather={"weights": (60, *(10,) * 8)},
    ),
    Mutant(
        "a vote counts twice",
        patched((slots, "VoteBook", counting.RepeatingBook)),
        "silent",
        5,
        weather={"duplication": 0.1},
    ),
    Mutant(
        "votes for different candidates add up",
        patched((slots, "VoteBook", counting.PoolingBook)),
        "equivocating_leader",
        5,
    ),
    Mutant("votes not verified", Product(verifier=counting.GullibleVerifier), "garbage", 5),
    Mutant("a bitmap that counts round", Product(table=counting.WrappingTable), "certificate_forger", 5),
    Mutant("votes do not name their kind", signing(counting.without_kind), "certificate_forger", 5),
    Mutant("votes do not name their view", signing(counting.without_view), "certificate_forger", 5),
)
EVIDENCE = (
    Mutant(
        "evidence without conflict check",
        Product(decode_evidence=counting.decode_anything),
        "false_accuser",
        5,
    ),
    Mutant(
        "evidence without signature check", Product(convicted=counting.convict_unsigned), "false_accuser", 5
    ),
    Mutant(
        "evidence of what is allowed",
        patched((tally, "conflicts", counting.zealous), (evidence, "conflicts", counting.zealous)),
        "equivocating_leader",
        20,
    ),
)
SYNC = (
    Mutant(
        "sync does not verify finality",
        Product(verifier=counting.TrustingVerifier),
        "sync_liar",
        40,
        weather={"crash_chance": 0.6, "block_interval_ms": 100, "partition_chance": 0.3},
    ),
)
STORE = (
    Mutant(
        "votes not durable",
        Product(store=store.ForgetfulStore),
        "selective_sender",
        40,
        weather={"crash_chance": 0.8},
    ),
    Mutant(
        "blocks not durable",
        Product(store=store.BlocklessStore),
        "silent",
        40,
        weather={"blackout_chance": 0.3},
    ),
    Mutant(
        "own votes not reloaded",
        Product(core=rules.AmnesiacCore),
        "selective_sender",
        20,
        weather={"crash_chance": 0.8},
    ),
    Mutant(
        "the floor outlives its epoch",
        Product(store=store.StaleStore),
        "silent",
        5,
        weather={"epoch_blocks": 4},
    ),
    Mutant(
        "an epoch entered in memory alone",
        Product(store=store.UnheardEpochStore),
        "silent",
        20,
        weather={"epoch_blocks": 4, "crash_chance": 0.5},
    ),
    Mutant(
        "a rewrite forgets votes",
        Product(store=store.ShrinkingStore),
        "selective_sender",
        20,
        weather={"compact_bytes": 1_000, "crash_chance": 0.8},
    ),
    Mutant(
        "a torn end taken for damage",
        Product(store=store.AnxiousStore),
        "silent",
        20,
        weather={"crash_chance": 0.8},
    ),
)
ON_LEDGER: dict[str, Any] = {"ledger": True, "epoch_blocks": 4}
LEDGER = (
    Mutant(
        "a commit is not synced",
        Product(database=ledger.HastyStore),
        "silent",
        10,
        weather={**ON_LEDGER, "crash_chance": 0.5},
    ),
    Mutant(
        "evidence on chain is not verified",
        patched((ledger_evidence, "convicted", ledger.believe)),
        "false_accuser",
        10,
        weather=ON_LEDGER,
    ),
    Mutant(
        "evidence slashes twice",
        patched((slashing, "slash", ledger.slash_twice)),
        "skip_and_finalizer",
        10,
        weather=ON_LEDGER,
    ),
    Mutant(
        "a convicted validator stays",
        patched((removal, "begin", ledger.removed_only)),
        "skip_and_finalizer",
        10,
        weather=ON_LEDGER,
    ),
    Mutant(
        "the convicted vote again",
        patched((epochs, "may_vote", ledger.may_vote_again), (removal, "unbond", ledger.nothing_unbonds)),
        "skip_and_finalizer",
        20,
        weather=ON_LEDGER,
    ),
    Mutant(
        "attendance is not verified",
        patched((chain, "check_attendance", ledger.believe_attendance)),
        "attendance_forger",
        5,
        weather=ON_LEDGER,
    ),
    Mutant(
        "attendance counts twice",
        patched((transition, "END_OF_BLOCK", (attendance.count, *transition.END_OF_BLOCK))),
        "silent",
        3,
        weather=ON_LEDGER,
    ),
    Mutant(
        "attendance of less than a quorum",
        patched((chain, "check_attendance", ledger.check_few)),
        "attendance_forger",
        5,
        weather=ON_LEDGER,
    ),
    Mutant(
        "jails without bound",
        patched((downtime, "_room", ledger.any_room)),
        "silent",
        5,
        weather={**ON_LEDGER, "jail_epochs": 1},
    ),
    Mutant(
        "the jailed vote on",
        patched((epochs, "may_vote", ledger.may_vote_in_jail)),
        "silent",
        5,
        size=7,
        weather={**ON_LEDGER, "jail_epochs": 1},
    ),
    Mutant(
        "absence does not have to be in a row",
        patched((downtime, "_room", ledger.room_and_memory)),
        "silent",
        20,
        size=7,
        weather={**ON_LEDGER, "jail_epochs": 2, "crash_chance": 0.5},
    ),
    Mutant(
        "the set is read a block too early",
        patched((epochs, "choose", ledger.choose_before)),
        "silent",
        10,
        weather=ON_LEDGER,
    ),
    Mutant(
        "sync takes any transactions under a header",
        patched((syncing, "read_range", ledger.read_loosely)),
        "sync_liar",
        120,  # rare, and which seed shows it moves with the hash of genesis
        weather={**ON_LEDGER, "crash_chance": 0.6, "partition_chance": 0.3},
    ),
)
WITH_WORKERS: dict[str, Any] = {"workers": ("", ""), "epoch_blocks": 4}
ABSENT: dict[str, Any] = {**ON_LEDGER, "workers": ("silent", "")}
WORKERS = (
    Mutant(
        "a worker's signature counts",
        Product(core=workers.CountingCore),
        "silent",
        5,
        weather=WITH_WORKERS,
    ),
    Mutant(
        "work leads with too few tickets",
        patched((leaders, "TICKETS_MIN", 0)),
        "silent",
        20,
        weather=WITH_WORKERS,
    ),
    Mutant(
        "work leads every view",
        patched((leaders, "STAKE_VIEW_EVERY", 10**9)),
        "silent",
        5,
        weather=WITH_WORKERS,
    ),
    Mutant(
        "a worker proposes again after a restart",
        Product(core=workers.ForgetfulWorkerCore, store=store.CarelessStore),
        "silent",
        40,
        weather={**WITH_WORKERS, "crash_chance": 0.8},
    ),
    Mutant(
        "a missed view changes the set in use",
        patched((transition, "END_OF_BLOCK", workers.steps_with(workers.charge_now))),
        "silent",
        10,
        weather=ABSENT,
    ),
    Mutant(
        "a missed view costs nothing",
        patched((transition, "END_OF_BLOCK", workers.steps_with())),
        "silent",
        10,
        weather=ABSENT,
    ),
)
MUTANTS = (*RULES, *EPOCHS, *COUNTING, *EVIDENCE, *SYNC, *STORE, *LEDGER, *WORKERS)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}


def scenario_for(mutant: Mutant, seed: int) -> Scenario:
    """A few validators, equal unless the mutant says otherwise, one hostile, rough weather."""
    usual = Scenario(
        seed=seed,
        weights=(10,) * mutant.size,
        block_interval_ms=200,
        loss=0.1,
        spike_chance=0.1,
        partition_chance=0.1,
        disk_ms=20,
        progress_ms=20_000,
    )
    scenario = with_changes(usual, **mutant.weather)
    small = [index for index, weight in enumerate(scenario.weights) if weight == min(scenario.weights)]
    return with_changes(scenario, byzantine={Random(f"mutant {seed}").choice(small): mutant.adversary})


def hunt(mutant: Mutant) -> Caught | None:
    """Play seeds 0, 1, 2, ... with the fault planted until it is seen; None when it was not, within its bound."""
    for seed in range(mutant.seeds_max):
        violations = World(scenario_for(mutant, seed), mutant.product).run().violations
        if violations:
            return Caught(seed + 1, mutant.seeds_max, violations[0])
    return None
