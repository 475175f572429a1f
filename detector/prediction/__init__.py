"""A model over whatever is given: pictures, folders, videos, cameras, streams.

`sources` says what is meant, `reading` turns it into frames, `pipeline` overlaps reading, the model and drawing, and
`outputs/` (one file per kind) writes what was found. `run` puts them together.
"""
