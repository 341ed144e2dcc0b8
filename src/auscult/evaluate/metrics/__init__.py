"""What held-out replies can be measured by, one file each: `NAME.py` has the class `Metric`, and a recipe names it with
`evaluate: {metric: NAME}`."""
