"""Policies on their way into the gate: from files and Git, tried on recorded decisions before they hold."""
