"""One file a model family, found by its name: `tiny()` makes a random-weight checkpoint, `load(path)` opens one."""
