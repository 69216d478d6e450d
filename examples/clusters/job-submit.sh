#!/usr/bin/env bash
# A cluster that is there already: the sweep runs on its head, and this machine may go.
#
#     job-submit.sh http://HEAD:8265 STORAGE NAME --task udpos --data DIR --gpus 8
#
# Needs ray[default] here and on the head, and dlfa-sweep on all nodes, begin-or-resume.sh in their PATH.
# `ray job logs --follow ID` shows it; the same line again goes on with it.
set -euo pipefail
address=$1
shift
ray job submit --address "$address" --no-wait -- begin-or-resume.sh "$@"
