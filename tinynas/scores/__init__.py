"""Scores that rank untrained networks, one plug-in per file; higher is better. Which to use when: docs/scores.md.

A plug-in has `WEIGHTS`, its published weights, one per group (stem, stage 1, stage 2, stages 3 + 4, stage 5; empty where
groups are not weighted), may have `SEES`, what it sees beside the backbone (`neck`, `image_size`: where it does not see what
a search may choose, the cheapest choice always wins), and has one of

- `score(graph, weights) -> float or (P,)`, in closed form, for one network or a population. The graph has a backbone;
  neck and head do not count unless the score sees them. If the score is a sum over convs, also `gains(graph, weights) ->
  [(op path, float or (P,)), ...]`, which add up to it: a search then compiles the score stage by stage, and its optimum can
  be proven. A score that sees the neck gives the neck's gains alone for a graph that begins at the taps.
- `score_structures(structures, *, seed=0) -> (n,)`, by forward passes; torch is imported when it is called.
"""
