"""The table of parameters: every number of a chain that is no limit of a node, with type, default and all that is said of it.

It is one record spread over pages by inheritance, a page a file: ``params_chain``, ``params_review``, and this last one. A
parameter is added by one field, after which ``python -m omnitensor.protocol.parameter_page`` writes the specification's
page anew. Rules between parameters are in ``parameter_rules``, limits that protect a node in ``limits``.
"""

from typing import Final, get_args, get_type_hints

from omnitensor.protocol.parameter import Spec
from omnitensor.protocol.params_review import ReviewParams


class Params(ReviewParams, frozen=True):
    """A chain's parameters as they are in force at some height: set in genesis, and changed by governance."""


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
