"""Data sets: from files of any format to the batches that a network learns from. In the order of the way:

    formats/                                      a reader, and for some a writer, of each format
    file_tree, split_names, split_lists, scalars  what the readers share
    raw_split                                     what each of them gives
    annotations                                   a split, checked and packed: the currency of all that follows
    label_space/, origins                         several data sets as one
    picture_header, image, image_facts            pictures read, and what is known of each file before work starts
    dataset, cache, loader                        pictures at the network's size, kept decoded, in batches
    augment, mosaic, geometry, regions, sada/     what training changes in them
    sampling                                      how often each is drawn
    check/, vanishing, mirror/                    what is wrong with a data set; what mirrors would teach wrongly
    splitting, grouping, likeness                 a data set divided, with what belongs together kept together
    convert, merge, slicing, writing              data sets made of data sets
    sample, coco_names                            generated data; COCO's classes

Importing the package imports nothing else.
"""
