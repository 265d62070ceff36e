"""The geometry of a page's drawings: numbers in, positions in per cent out, which the templates draw."""
