"""What every test shares."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Before anything imports torch: its threads spin while they wait for each other (GNU libgomp), and with a second
# busy process on two cores, which is what a parallel test run is, that makes training 18 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# How long an example takes says something about the machine and who else is on it, and nothing about the code.
settings.register_profile("skillwarrant", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("skillwarrant")
