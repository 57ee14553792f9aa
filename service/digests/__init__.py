"""Digests: who gets which papers, and when."""
