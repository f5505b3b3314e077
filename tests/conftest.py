"""What every test shares."""

from __future__ import annotations

import os

# Before anything imports torch: its threads spin while they wait for each other (GNU libgomp), and with a second
# busy process on two cores, which is what a parallel test run is, that makes training 18 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
