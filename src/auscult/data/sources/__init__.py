"""One file a data format, found by its name: `data.source: digits` in a recipe is `sources/digits.py`."""
