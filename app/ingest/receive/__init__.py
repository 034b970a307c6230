"""Telemetry and events by HTTP: what senders post becomes records of Opsloop's topics."""
