"""From a bundle's bytes to who signed what, and where it is logged. No policy, no torch."""
