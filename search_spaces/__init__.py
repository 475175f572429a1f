"""Which networks exist: structures, and the graphs that they stand for.

    structure, schema, text, public_formats  a detector's structure, and the files that hold one
    structures/                              the shipped ones
    graph, builder, emit                     networks as data: ops, how they are written down, and the whole of a detector
    blocks/, necks/, heads/                  what writes the ops, a plug-in a file
    space, spaces/                           search spaces, and the shipped ones
    costs                                    params, MACs, layers and memory of a graph
    errors, validation, files, image_size    what all four packages share: mistakes told, files kept whole,
    saying, cores, plugins, version          lines told, cores counted, plug-ins found

Importing the package imports nothing else; nothing here imports torch.
"""
