"""Packs on their way to the workers: read, tried on recordings, drafted, registered under a signature."""
