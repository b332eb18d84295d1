"""ReLU networks with assigned weights: circuits, sawtooth squares and products, constructions."""
