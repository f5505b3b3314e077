"""The gate's operations, one a module: judging, loading, stacking, mixing, merging, removing, and their records."""
