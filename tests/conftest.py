"""Settings for the whole suite: how Hypothesis searches here and on a shared machine that must not fail by chance."""

import os

from hypothesis import HealthCheck, settings

# A deadline measures the machine, not the code: two busy cores would fail honest tests.
settings.register_profile(
    "developer", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", parent=settings.get_profile("developer"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
