"""Stages of the held-out split: the rows that are set aside, and those that resemble them."""
