"""Approvals and what belongs to them by HTTP."""
