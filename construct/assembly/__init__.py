"""Assembly: from an approximator to the weights of a transformer, and the planner that chooses it."""
