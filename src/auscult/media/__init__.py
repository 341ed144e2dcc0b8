"""A file or bytes become arrays at one rate, with every failure named. Loads without torch."""
