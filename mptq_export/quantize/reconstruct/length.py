"""How long a block learns, where nothing else is asked for."""

#: Steps of gradient descent.
STEPS = 150

#: Images a step.
BATCH = 8
