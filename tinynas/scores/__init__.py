"""Scores that rank untrained networks, one plug-in per file.

A plug-in has `score(graph, weights) -> float or array (P,)`; higher is better. `weights`: one per group (stem, stage 1,
stage 2, stages 3 + 4, stage 5), from the space file.
"""
