"""What lives while the daemon runs, part by part. `part.py` is the one protocol; `../service.py` lists the parts and calls them in turn."""
