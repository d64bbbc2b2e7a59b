"""Sequence classifiers as reward models, in this process or behind vLLM."""
