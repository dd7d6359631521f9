"""The running process: what a configuration comes to, and what an operator does with it."""
