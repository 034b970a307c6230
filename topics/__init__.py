"""Topics: what travels between the agents. Nouns only: records, their keys and their codec."""
