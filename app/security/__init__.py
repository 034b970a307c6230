"""Identity of people and programs: keys, roles, tokens, votes, and the kill switch."""
