"""Detection: what is ordinary for each series, and which entity is off it now."""
