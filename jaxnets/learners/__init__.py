"""How a state improves: a `Learner` is four pure functions, and learners compose."""
