"""Worker processes: what they run, their metrics, memory, logging and end."""
