"""Plans: a graph compiled to a list of kernel calls over packed weights, which engines of bertc's own run."""
