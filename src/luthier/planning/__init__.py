"""Before the run: how much memory it takes, how long, and which method fits."""
