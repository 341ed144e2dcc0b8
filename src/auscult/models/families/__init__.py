"""One file a model family, found by its name: `Model` builds and loads, `tiny()` writes a random-weight checkpoint."""
