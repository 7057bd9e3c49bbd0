"""What is looked at before a merge: how far models went, whether they agree, and what of it a method would keep."""
