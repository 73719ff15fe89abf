"""Results: what a finished plan found, as values that every report is rendered from."""
