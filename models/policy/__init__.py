"""Policy: rules, written by people, for what the system may do."""
