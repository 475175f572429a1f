"""How long a run takes: times as people write them, the estimate at its start, `--time`."""
