"""The broker: connections, topics, consumer groups, dead letters; a local one and one in memory."""
