"""What is wrong with a data set, before training finds out."""
