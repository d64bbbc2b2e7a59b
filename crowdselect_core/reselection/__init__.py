"""Selections that repeat themselves: records, what changed, and how far the new rows drifted."""
