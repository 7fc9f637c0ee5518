"""What build/ says, for people: the numbers of a model, its card, figures."""
