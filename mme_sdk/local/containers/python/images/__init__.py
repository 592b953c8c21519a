"""What the images of AWS do differently from each other, selected by the name of the image."""
