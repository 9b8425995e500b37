"""How the weights are made: names, alignment, dense fine-tuning, decoder."""
