"""Topology: which services call which."""
