"""Candidates as gene arrays: from a space to populations and back, mutation and repair, which values are allowed."""
