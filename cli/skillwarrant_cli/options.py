"""Options that several commands share, spelt once."""

from __future__ import annotations

import click

__all__ = ["json_option"]

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
