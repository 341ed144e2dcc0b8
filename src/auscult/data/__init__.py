"""Somebody's format becomes Samples; splits, checks and leak guards. A format is one file in `sources/`."""
