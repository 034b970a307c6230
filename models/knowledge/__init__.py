"""Knowledge: packs say as data which signals mean which symptom, what causes it, and what cures it."""
