"""Model files against one another: who can be timed, how, and what came of it (`tinynas bench`, `tinynas verify`)."""
