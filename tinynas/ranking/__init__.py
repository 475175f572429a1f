"""The second stage of a search: candidates of one latency, trained in rungs on the user's data, ranked by AP."""
