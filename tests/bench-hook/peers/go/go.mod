module serialfleet.io/bench-hook

go 1.22
