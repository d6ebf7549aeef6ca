"""Planted faults. Each is the product with one rule broken; the checkers must see it within a bounded number of seeds.

The seeds are 0, 1, 2, ... for all of them. A fault that is not seen within its bound fails the tests, and so does a product that
is accused in the first of the same executions. ``python -m tests.simulation.mutants`` plants them all and says when
each was seen.
"""

from tests.simulation.mutants.registry import BY_NAME, MUTANTS, Caught, Mutant, hunt, scenario_for

__all__ = ["BY_NAME", "MUTANTS", "Caught", "Mutant", "hunt", "scenario_for"]
