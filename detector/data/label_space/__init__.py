"""Several data sets with one label space (report, section 2.5): which class of which set is which class of the detector.

document    the file that a person writes: the sets, aliases, what is renamed and left out
unify       the rules: classes of all sets become the classes of the label space
reading     splits of all sets as one
look_alike, known_names, proposal   a first proposal of such a file from the sets themselves
table       what is printed of it
"""
