#!/usr/bin/env bash
# Plants each bug of mutants.txt in a copy of the tree under target/ and sees that the simulator finds it.
# Words select mutants by name; --fits only sees that each fits the tree as it is.
# SIM_SEEDS: how many seeds a mutant may survive before it is NOT FOUND.
set -euo pipefail
exec python3 "$(dirname "$0")/mutants.py" "$@"
