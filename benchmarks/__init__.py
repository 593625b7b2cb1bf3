"""Speed beside other libraries and beside the machine's own limits, as ratios within one run. `make bench`."""
