"""Many calls: items, data frames, and loading models before they are called."""
