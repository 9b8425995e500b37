"""Results and models in the forms of other tools, there and back without loss."""
