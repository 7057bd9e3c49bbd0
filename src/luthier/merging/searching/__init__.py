"""How the settings of a merge are searched for: what is varied, who says what to try, and what was found."""
