"""How the shipped T4 and V100 tables came about: run by hand to rebuild them, imported by no package; needs scipy."""
