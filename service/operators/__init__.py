"""The people who run an installation: their door, their rights, and the record of what they did."""
