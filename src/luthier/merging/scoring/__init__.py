"""How a merged body is judged: on the rows of the runs that it was merged from, each under its own head."""
