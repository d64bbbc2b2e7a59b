"""Servers that fail on request, for tests and drills."""
