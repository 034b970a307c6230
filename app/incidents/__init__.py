"""Incidents: from anomalies to incidents, and from results to verdicts."""
