"""What is in a merged folder and is no weight."""
