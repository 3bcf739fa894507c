# Only forwards: ./run is the entry point and needs no make.
.PHONY: help demo check lab report runs lock
help:
	@./run --help
demo check lab report runs lock:
	@./run $@
