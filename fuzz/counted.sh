#!/bin/sh
# What cargo runs instead of the compiler for the workspace's own crates: the compiler, which counts lines.
exec "$@" --cfg fuzzing -Cinstrument-coverage
