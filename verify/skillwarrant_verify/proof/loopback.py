"""Which hosts are this very machine: the only ones that are asked without TLS, and never through a proxy."""

from __future__ import annotations

from ipaddress import ip_address

__all__ = ["is_loopback"]


def is_loopback(host: str | None) -> bool:
    """Whether a URL's host names this machine. By its spelling: no name is looked up."""
    if host is None:
        return False
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
