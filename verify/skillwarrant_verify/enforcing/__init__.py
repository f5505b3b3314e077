"""The doors by which adapters get onto models, closed for whoever does not come through the gate."""
