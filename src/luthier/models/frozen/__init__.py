"""What a model's frozen part computes is computed once for each row, and given back from then on."""
