"""Many calls: items, data frames, and warming models up."""
