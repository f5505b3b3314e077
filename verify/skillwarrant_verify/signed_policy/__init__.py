"""Policies that somebody stands behind: verified, never going back, reloaded while in use."""
