"""The evolutionary search: the loop, its islands and pools, the Pareto front, the state between epochs, where it runs."""
