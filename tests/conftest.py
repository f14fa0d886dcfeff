"""What all tests share: how long hypothesis searches.

`dev` is for a person waiting, `ci` for `make check`; both draw the same examples every time, so that a red test is
red for everybody. `hunt` draws new ones each time and long: HYPOTHESIS_PROFILE=hunt pytest tests/property.
"""

import os

import hypothesis

_PATIENT = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]

hypothesis.settings.register_profile("dev", derandomize=True, database=None, deadline=None, max_examples=30)
hypothesis.settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=100, print_blob=True
)
hypothesis.settings.register_profile(
    "hunt", deadline=None, max_examples=3_000, print_blob=True, suppress_health_check=_PATIENT
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))
