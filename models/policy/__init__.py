"""Policy: what may be done, as rules that people write."""
