"""Readers: who they are, what they agreed to, what they want and when."""
