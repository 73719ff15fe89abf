"""Diagnosis: where a candidate fails, why, and which lever would fix it."""
