"""App: settings, wiring, command line, and the adapters to the outside."""
