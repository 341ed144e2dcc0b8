"""A model or a server, and Samples, become Rollouts."""
