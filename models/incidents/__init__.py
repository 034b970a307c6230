"""Incidents: the life cycle as a table, and the incident book, which keeps one open incident per episode."""
