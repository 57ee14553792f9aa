"""Mails: how a digest, a notice or a letter is made, from what was chosen to bytes for the wire."""
