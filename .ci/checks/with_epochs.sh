#!/bin/sh
# Runs the compiler, which cargo names as the first argument, for a library whose pins are those of systems
# without asymmetric fences.
exec "$@" --cfg larder_epochs
