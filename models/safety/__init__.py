"""Safety: modes, limits and votes. What is not allowed is refused, with a reason."""
