"""Look through a data set, split, merge or slice it, or turn it into another format."""
