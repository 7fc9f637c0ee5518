"""How good a model is: metrics with intervals, slices, explanations, and the decision on promotion."""
