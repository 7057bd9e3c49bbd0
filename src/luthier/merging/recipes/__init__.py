"""The recipe of a merge, from files in our form or in mergekit's, or from a command line."""
