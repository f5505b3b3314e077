"""Who runs a deployment, as an identity provider has signed it."""
