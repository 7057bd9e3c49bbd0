"""What a search speaks of: domains, a space of settings, a trial, the history of all trials."""
