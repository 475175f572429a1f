"""Look through a data set, split, merge or slice it, turn it into another format, or make several one."""
