"""One vocabulary of models whose tokenizers differ."""
