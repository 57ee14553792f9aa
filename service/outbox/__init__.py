"""The outbox: every message to be sent is a row here first. Put in, claim, settle, sweep; see ``states`` for the rules.

It lies below the rooms that put mail in (subscribers, digests) and the room that takes it out (delivery).
"""
