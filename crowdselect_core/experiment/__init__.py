"""Experiments: a grid of cells, what each comes to, and what tells two of them apart."""
