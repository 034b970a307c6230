"""Incidents: their life as a table, and the book that keeps one open per entity, symptom and episode."""
