"""Drills: real workers on a real Kafka, broken on purpose, and what must still hold afterwards."""
