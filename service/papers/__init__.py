"""Papers: read from sources, known by their identifiers, cut into editions."""
