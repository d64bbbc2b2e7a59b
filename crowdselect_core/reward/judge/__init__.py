"""LLMs as judges: grades and pairwise comparisons by a rubric."""
