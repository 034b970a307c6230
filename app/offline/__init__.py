"""Recordings: scored and replayed without a broker."""
