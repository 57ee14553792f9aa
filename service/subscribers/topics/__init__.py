"""Topics: the shipped catalogue, what operators say on top of it, and its words in other languages."""
