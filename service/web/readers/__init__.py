"""What readers do: subscribe, confirm, sign in, choose, read, say what they like, leave."""
