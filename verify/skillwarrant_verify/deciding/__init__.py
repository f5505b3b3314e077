"""Facts, rules and the decision that comes of them. Pure: no clock, no file, no network."""
