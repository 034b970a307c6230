"""Diagnosis: from deviating series to symptoms, and from symptoms to ranked hypotheses."""
