"""Worker processes: drivers, signals, logging, metrics, memory."""
