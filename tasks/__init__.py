"""Thin Prefect tasks: a look in the store, one call into the core, a commit."""
