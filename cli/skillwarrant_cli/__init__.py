"""The command line: `skillwarrant …`. What a command does is the libraries' business; here it is asked and shown.

Importing this package imports nothing, and `skillwarrant --help` imports click alone.
"""

__all__: list[str] = []
