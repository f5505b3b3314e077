"""One module a command, each with a click command called `command`. Imported when called, never before.

What a command needs beyond click and the format is imported inside it.
"""

__all__: list[str] = []
