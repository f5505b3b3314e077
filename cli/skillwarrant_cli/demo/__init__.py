"""`skillwarrant demo`: the whole way of a warrant on a real model, offline.

`cache` keeps what is slow to make, `convert` and `base` get the model, `train` makes the adapter.
Importing this package imports none of them: torch and transformers cost seconds.
"""

__all__: list[str] = []
