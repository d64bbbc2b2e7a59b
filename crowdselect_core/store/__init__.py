"""Artifacts in a local folder or a bucket: identity, shards, manifests, verification."""
