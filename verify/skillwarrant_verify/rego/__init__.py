"""Rules in Rego beside the native ones: an engine in a process of its own, or a user's own OPA server."""
