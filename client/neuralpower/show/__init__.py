"""What commands and the demo print alike: tables and lines, of results that are there already."""
