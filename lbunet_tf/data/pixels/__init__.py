"""From a file to the square that the network sees."""
