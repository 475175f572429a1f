"""The exact solver: a space as a layered graph, Lagrangian bounds, label setting, and the optimum with its proof."""
