"""Every attack, by group; importing this registers them all."""

from __future__ import annotations

from typing import Final

from cases import configuration, drift, identity, log, manifest, races, rollback, substitution, terms, weights

__all__ = ["GROUPS"]

GROUPS: Final = {
    module.GROUP: module.WORDS
    for module in (substitution, weights, configuration, manifest, identity, log, drift, terms, rollback, races)
}
