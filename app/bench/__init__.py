"""Benches: what is measured stands beside the command that measures it."""
