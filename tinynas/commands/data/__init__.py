"""Look through a data set, or turn it into another format."""
