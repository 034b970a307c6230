"""Agents: verbs, one a file. They meet only through topics; the drivers (`_lane`, `_loop`) call their `step`."""
