"""Telemetry in: collectors, files, and the topics of other agents."""
