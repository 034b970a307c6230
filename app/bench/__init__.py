"""Benches: measurements of this machine, for `opsloop bench`."""
