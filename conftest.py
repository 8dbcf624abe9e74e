"""Settings of every test of the workspace."""

from __future__ import annotations

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # `nox -s alone` needs no property tests
    pass
else:
    # A busy machine must not fail a test: no time limit for an example.
    settings.register_profile(
        "workspace", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("workspace")
