"""Fuzzing: what each target promises of any bytes, and the inputs that it is tried with."""
