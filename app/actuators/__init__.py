"""The way to the world: ledgers, executors, one kind of actuator a file."""
