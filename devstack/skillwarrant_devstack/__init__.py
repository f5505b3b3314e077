"""A whole Sigstore instance in one process, for demos, tests and air-gapped trials. No production CA.

Loopback only. It must not know anything of skills, policies or models: to it, a payload is bytes.
"""

from __future__ import annotations

from skillwarrant_devstack.stack import Devstack

__all__ = ["Devstack"]
