"""A search from what was asked to its result: request, plan, output folder, run, proof, closed loop."""
