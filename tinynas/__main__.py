from tinynas.cli import run

run()
