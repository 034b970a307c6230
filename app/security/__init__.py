"""Keys, people, tokens and secrets: all that has to do with who somebody is."""
