"""The specification's page of parameters, made from the table. Run as a module it writes the page anew."""

from pathlib import Path
from typing import Any, Final

from omnitensor.protocol.parameter import Area, Spec, Takes
from omnitensor.protocol.params import DEFAULTS, SPECS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "specification" / "parameters.md"

_HEAD: Final = """# Parameters

Every number of a chain that is no limit of a node. This page is made from the table in `omnitensor/protocol/params.py` by
`python -m omnitensor.protocol.parameter_page`, and a test compares the two.

A genesis sets the parameters that differ from their defaults; afterwards a vote of [governance](governance.md) changes them. The
bounds belong to the software: neither a genesis nor a vote gets out of them. The last column says when a change takes
effect after it was executed: with the *next block*; with the first block of the *next epoch*, so that a whole epoch, and every
node that starts anew in it, has one value; or never, because the parameter is *fixed* in genesis. Where a *step* is given, one
vote may at most multiply or divide the value by it: what would make a chain too fast for its own network can be mended by
another vote as long as blocks are still being made.

Two rules hold between parameters, of what is in force and of what will be with the next epoch:

- `block_weight_target <= block_weight_max`;
- `unbonding_blocks >= (evidence_epochs + 1) * epoch_blocks`: whoever signs what convicts it can't be paid before it is convicted.

And a genesis has `base_fee_initial >= base_fee_min`.
"""


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for area in Area:
        rows = [(name, spec) for name, spec in SPECS.items() if spec.area is area]
        if not rows:
            continue
        parts.append(f"\n## {area.value.capitalize()}\n\n")
        parts.append(
            "| parameter | default | bounds | unit | is | takes effect |\n| --- | --- | --- | --- | --- | --- |\n"
        )
        parts += [_row(name, spec) for name, spec in rows]
    return "".join(parts)


def _row(name: str, spec: Spec) -> str:
    when = spec.takes.value
    if spec.takes is Takes.GENESIS:
        when += f": {spec.fixed_because}"
    elif spec.step:
        when += f", step {spec.step}"
    default = _text(getattr(DEFAULTS, name))
    return f"| `{name}` | {default} | {_text(spec.low)} to {_text(spec.high)} | {spec.unit} | {spec.about} | {when} |\n"


def _text(value: Any) -> str:
    return f"{value[0]}/{value[1]}" if isinstance(value, tuple) else f"{value:,}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
