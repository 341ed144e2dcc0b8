"""Judges: another model grades replies, and what it said can be replayed without it."""
