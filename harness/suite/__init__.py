"""Suite: the question as data, read from a file and checked, with the collections that it names."""
