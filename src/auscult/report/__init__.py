"""A run folder becomes one page that a person reads and hears."""
