"""One fit: from the checked parameters to the trained weights."""
