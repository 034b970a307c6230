"""Decision: from a hypothesis to a proposed action."""
