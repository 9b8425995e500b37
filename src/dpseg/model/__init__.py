"""The network between prompts and scores: cost volumes and the decoder that they guide."""
