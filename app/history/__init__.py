"""What happened, read back: histories, explanations, the audit."""
