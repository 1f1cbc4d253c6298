"""Our own speed: growth with tasks and steps, memory, compilation, the share of the machine's rate, what ``fit`` adds."""
