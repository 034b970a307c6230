"""Decision requests by people."""
