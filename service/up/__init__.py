"""`paperround up`: the whole service on one machine, every part a process of its own, watched and stopped together."""
