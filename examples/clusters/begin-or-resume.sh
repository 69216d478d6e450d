#!/usr/bin/env bash
# Begins a sweep of one task, or goes on with it if it is there: the same line for the first start of a job and the next.
#
#     begin-or-resume.sh STORAGE NAME --task udpos --data DIR ...
#
# STORAGE is a folder that all nodes share. A sweep that goes on keeps its own flags: those given here count once.
set -euo pipefail
storage=$1 name=$2
shift 2
# The folder appears with its settings in it, in one step. `exec`: signals reach the driver itself.
if [ -e "$storage/$name/sweep.yaml" ]; then
    exec dlfa-sweep --resume "$name" --storage "$storage" --address auto
fi
exec dlfa-sweep --name "$name" --storage "$storage" --address auto "$@"
