"""Decision: turns hypotheses into proposed actions."""
