"""A history of one's own through the live detector with many settings side by side, and what each would have told."""
