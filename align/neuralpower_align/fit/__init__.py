"""One regression in all of it: normal equations, the objective, and the search for its maximum."""
