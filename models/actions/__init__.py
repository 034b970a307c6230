"""Actions: the catalogue of changes that Opsloop can make to a system."""
