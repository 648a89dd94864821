"""The optimiser: a cost network in, a choice of states with its proof out. Knows nothing of programs."""
