"""The stages of a selection, one file each: what its artifact is (`spec`) and how it is computed.

Each module has `spec(config, ...)`, which names the artifact by everything that changes its
content, and `plan(config, store, ...)`, which says how it is computed, shard by shard.
"""
