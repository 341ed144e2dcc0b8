"""One file an algorithm, found by its name: a finished Group becomes Credits. No torch here."""
