"""Reward models: one file per kind behind one Protocol (`base.Scorer`)."""
