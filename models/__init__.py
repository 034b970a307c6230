"""Models: the logic that detects, decides, learns and predicts. Pure and deterministic: no clock, no I/O.

Message schemas, which Faust calls models, live in `topics`.
"""
