"""Safety: modes, limits, votes and signatures. Refuses, with a reason, what is not allowed."""
