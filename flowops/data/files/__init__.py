"""Files that users have: folders and archives of images, pickled batches, packed arrays, and what they hash to."""
