"""The HTTP interface: approvals, decisions, incidents, the kill switch and maintenance."""
