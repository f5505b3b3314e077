"""The policy document: reading it, with the line of each key. Deciding is next door."""
