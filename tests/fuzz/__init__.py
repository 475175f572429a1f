"""Spoilt inputs by the thousand, seeded: every reader, pictures and structure files. By hand: `python -m tests.fuzz -h`."""
