"""Other people's libraries: one module or folder each, which imports the library when it is used."""
