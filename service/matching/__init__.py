"""Matching: what queries say, which papers they find, and which of those each reader gets."""
