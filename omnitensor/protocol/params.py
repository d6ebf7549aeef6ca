"""The table of parameters: every number of a chain that is no limit of a node, with type, default and all that is said of it.

It is one record spread over pages by inheritance, a page a file: ``params_chain``, ``params_review``,
``params_staking``, ``params_work``, and this last one. A
parameter is added by one field, after which ``python -m omnitensor.protocol.parameter_page`` writes the specification's
page anew. Rules between parameters are in ``parameter_rules``, limits that protect a node in ``limits``.
"""

from typing import Annotated, Final, get_args, get_type_hints

from omnitensor.protocol.parameter import BLOCK, EPOCH, Area, Spec
from omnitensor.protocol.params_work import WorkParams
from omnitensor.protocol.types import BPS, NANO, U32, Amount, AmountF, Bps

_SPAN_MAX: Final = 7_776_000
"""Of a period of governance, in blocks: 90 days at a block a second. Longer ones would vote governance away."""


class Params(WorkParams, frozen=True):
    """A chain's parameters as they are in force at some height: set in genesis, and changed by governance."""

    proposal_deposit_min: Annotated[
        AmountF,
        Spec(
            Area.GOVERNANCE,
            "nanoOMNIT",
            NANO,
            1_000_000 * NANO,
            BLOCK,
            "Deposit with which the vote on a proposal begins.",
        ),
    ] = Amount(1_000 * NANO)
    proposal_deposit_first_bps: Annotated[
        Bps,
        Spec(
            Area.GOVERNANCE, "bps", 500, BPS, BLOCK, "Share of it that the proposer brings with the proposal."
        ),
    ] = 2_500
    proposal_deposit_blocks: Annotated[
        U32,
        Spec(Area.GOVERNANCE, "blocks", 2, _SPAN_MAX, BLOCK, "Time to bring the whole deposit together."),
    ] = 172_800
    proposal_voting_blocks: Annotated[
        U32, Spec(Area.GOVERNANCE, "blocks", 2, _SPAN_MAX, BLOCK, "Time to vote.")
    ] = 604_800
    proposal_timelock_blocks: Annotated[
        U32,
        Spec(
            Area.GOVERNANCE,
            "blocks",
            1,
            _SPAN_MAX,
            BLOCK,
            "Blocks between a vote that passed and its execution: time to leave for whoever disagrees.",
        ),
    ] = 172_800
    proposal_quorum_bps: Annotated[
        Bps,
        Spec(
            Area.GOVERNANCE,
            "bps",
            1_000,
            6_667,
            BLOCK,
            "Share of the voters' stake that must take part, abstentions included.",
        ),
    ] = 3_340
    proposal_threshold_bps: Annotated[
        Bps,
        Spec(
            Area.GOVERNANCE,
            "bps",
            5_000,
            9_000,
            BLOCK,
            "A proposal passes with more than this share of yes, abstentions not counted.",
        ),
    ] = 5_000
    proposal_veto_bps: Annotated[
        Bps,
        Spec(
            Area.GOVERNANCE,
            "bps",
            1_000,
            5_000,
            BLOCK,
            "More than this share of veto, of all that took part, refuses it and burns its deposits.",
        ),
    ] = 3_340

    season_epochs: Annotated[
        U32,
        Spec(Area.SEASONS, "epochs", 1, 1_000_000, EPOCH, "Epochs of a season."),
    ] = 4_320
    season_pool: Annotated[
        AmountF,
        Spec(
            Area.SEASONS,
            "nanoOMNIT",
            0,
            10_000_000 * NANO,
            EPOCH,
            "What leaves the reserve at a season's end for those who scored.",
        ),
    ] = Amount(50_000 * NANO)
    season_contributors_bps: Annotated[
        Bps, Spec(Area.SEASONS, "bps", 0, BPS, EPOCH, "Contributors' share of a season's pool.")
    ] = 5_000
    season_validators_bps: Annotated[
        Bps, Spec(Area.SEASONS, "bps", 0, BPS, EPOCH, "Validators' share of a season's pool.")
    ] = 3_000
    season_workers_bps: Annotated[
        Bps, Spec(Area.SEASONS, "bps", 0, BPS, EPOCH, "Workers' share of a season's pool.")
    ] = 2_000
    season_places: Annotated[
        U32,
        Spec(Area.SEASONS, "places", 1, 100, EPOCH, "Places of each leaderboard that have a share."),
    ] = 20
    participation_reward: Annotated[
        AmountF,
        Spec(
            Area.SEASONS,
            "nanoOMNIT",
            0,
            1_000 * NANO,
            BLOCK,
            "What an accepted item brings besides its pay, and at most as much again as its pay.",
        ),
    ] = Amount(NANO // 2)
    participation_account_max: Annotated[
        AmountF,
        Spec(Area.SEASONS, "nanoOMNIT", 0, 100_000 * NANO, BLOCK, "Most of it for one account in a season."),
    ] = Amount(10 * NANO)
    participation_pool: Annotated[
        AmountF,
        Spec(Area.SEASONS, "nanoOMNIT", 0, 1_000_000 * NANO, BLOCK, "Most of it in a season in all."),
    ] = Amount(5_000 * NANO)
    competition_pool_min: Annotated[
        AmountF,
        Spec(Area.SEASONS, "nanoOMNIT", NANO, 1_000_000 * NANO, BLOCK, "Least pool of a competition."),
    ] = Amount(100 * NANO)


def _specs() -> dict[str, Spec]:
    hints = get_type_hints(Params, include_extras=True)
    found: dict[str, Spec] = {}
    for name in Params.__struct_fields__:
        told = [extra for extra in get_args(hints[name])[1:] if isinstance(extra, Spec)]
        assert len(told) == 1, f"the parameter {name} needs one Spec"
        found[name] = told[0]
    return found


SPECS: Final[dict[str, Spec]] = _specs()
"""What is said of every parameter, by name, in the table's order."""

DEFAULTS: Final = Params()
