"""Labels for photos that have none, from other networks and the model's own answer."""
