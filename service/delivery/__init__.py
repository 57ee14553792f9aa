"""Delivery: from due rows to messages that a relay took, and what became of each."""
