"""What comes back: mail by SMTP, LMTP or from a mailbox, and calls of providers, turned into ``Return`` events."""
