"""Groups of scored rollouts, or demonstrations, become weights: one loop for every algorithm."""
