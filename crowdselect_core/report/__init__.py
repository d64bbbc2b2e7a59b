"""Summaries of what a run did, as text and Markdown."""
