"""Stages of the quality gates: which rows may be chosen at all, and why the others may not."""
