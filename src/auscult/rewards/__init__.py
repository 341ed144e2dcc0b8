"""A Sample and its Rollout become a Score with its parts. A reward is a function; loads without torch."""
