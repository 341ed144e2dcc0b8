"""A benchmark and an engine become Outcomes, with intervals, baselines and paired comparisons."""
