"""What a domain says about its keys: the official record, and where it is found (DNS, well-known file, local file)."""
