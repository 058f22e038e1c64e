"""What a cluster looks like to a fit, before there is one: facts that tasks gather, and what follows from them."""
